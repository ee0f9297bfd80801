//! Durations as people write them: `100ms`, `30s`, `5m`, `2h`, `1d`.
