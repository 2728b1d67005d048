"""What tests of several kinds share: brokers, certificates, waiting for a condition."""
