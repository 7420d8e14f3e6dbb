//! When requests are due at a fixed rate, whatever the broker does.
//!
//! All connections share one even schedule: request n of the run is due n intervals after its start, and belongs to
//! connection n modulo their number. Nothing is ever put off, so what is late by the broker's doing is late in the
//! latencies too.

/// An even schedule of requests over connections. Times are nanoseconds on the run's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    start_ns: u64,
    connections: u64,
    /// Nanoseconds between two requests of the run.
    interval_ns: f64,
}

impl Schedule {
    /// `rate` is records a second over all connections, each request carries `request_records`.
    pub(super) fn new(start_ns: u64, rate: f64, request_records: u64, connections: usize) -> Schedule {
        assert!(rate > 0.0 && request_records > 0 && connections > 0, "a workload is checked");
        Schedule { start_ns, connections: connections as u64, interval_ns: request_records as f64 / rate * 1e9 }
    }

    /// When request `number`, from 0, of `connection` is due.
    pub(super) fn due_ns(&self, connection: usize, number: u64) -> u64 {
        // Exact to below a nanosecond for weeks: the product stays under 2^53 ns, about 104 days.
        let position = number * self.connections + connection as u64;
        self.start_ns + (position as f64 * self.interval_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spread_over_time_and_connections() {
        // 1000 records/s, 2 a request: one request each 2 ms, in turn on 4 connections.
        let schedule = Schedule::new(500, 1000.0, 2, 4);
        let due: Vec<u64> = (0..4).map(|connection| schedule.due_ns(connection, 0)).collect();
        assert_eq!(due, [500, 2_000_500, 4_000_500, 6_000_500]);
        assert_eq!(schedule.due_ns(0, 1), 8_000_500);
        assert_eq!(schedule.due_ns(3, 1000), 500 + (4 * 1000 + 3) * 2_000_000);
    }

    #[test]
    fn odd_rates_do_not_drift() {
        // 300,000/s is no whole number of nanoseconds; after an hour the schedule is still right to 1 us.
        let schedule = Schedule::new(0, 300_000.0, 1, 7);
        let requests = 300_000 * 3600_u64;
        let due = schedule.due_ns((requests % 7) as usize, requests / 7);
        assert!(due.abs_diff(3_600_000_000_000) < 1_000, "{due}");
    }

    #[test]
    fn due_times_never_go_back() {
        let schedule = Schedule::new(0, 1e9, 1, 3);
        let mut last = 0;
        for position in 0..10_000_u64 {
            let due = schedule.due_ns((position % 3) as usize, position / 3);
            assert!(due >= last);
            last = due;
        }
    }
}
