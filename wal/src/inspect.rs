//! Looking at a log's files from outside: `ringlog wal dump` and `ringlog wal verify`.
