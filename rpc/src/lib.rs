//! Avro RPC over sockets.
