"""Windows and operating cycles in event time, and how parts of them are added up."""
