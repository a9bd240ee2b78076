"""Events and the audit, sent to a company's own log system."""
