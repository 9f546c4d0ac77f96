//! The Redis serialization protocol: a resumable request decoder and a RESP2/RESP3 reply encoder.
