-- The archive looks for rows that no partition takes where they are; through event it would have to read every partition
GRANT SELECT ON event_default TO pipeline_worker;
