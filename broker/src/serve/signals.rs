//! SIGTERM and SIGINT, which end the broker in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::systemd::Manager;

/// What tells the broker to stop. From [`StopSignals::new`] on neither signal ends the process by itself.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    manager: Manager,
}

impl StopSignals {
    pub fn new(manager: Manager) -> io::Result<StopSignals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(StopSignals { terminate, interrupt, manager })
    }

    /// Resolves with the name of the next one. The service manager is told that the broker stops.
    pub async fn recv(&mut self) -> &'static str {
        let signal = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        self.manager.stopping();
        signal
    }
}
