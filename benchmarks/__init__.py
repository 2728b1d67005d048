"""What Starlings costs on a real Apache Kafka, side by side with what bare aiokafka costs there.

`make bench` runs all of it and exits with 1 where a mark is missed. Every figure comes with the
floor's figure that was measured seconds before it, so that a busy machine slows both: trust the
ratios. `docs/performance.md` says what the figures mean.
"""
