-- What is stored of a source partition is found by its offsets when the log has it no longer. Several partitions and topics
-- write between each other, so a stretch of the table has several stretches of offsets
CREATE INDEX event_source ON event USING brin (source_offset int8_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);

-- Which rules the owner's fold is given
ALTER TABLE source_progress ADD COLUMN config_version text;
