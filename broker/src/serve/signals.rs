//! SIGTERM and SIGINT, which end the broker in order. The second one has it wait for no other broker any more, and the third ends it
//! at once: two may be one, since a terminal sends SIGINT to all of its processes, and whoever wraps the broker passes its own on.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::systemd::Manager;

/// What tells the broker to stop. From [`StopSignals::new`] on neither signal ends the process by itself.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    manager: Manager,
    received: u32,
}

impl StopSignals {
    pub fn new(manager: Manager) -> io::Result<StopSignals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(StopSignals { terminate, interrupt, manager, received: 0 })
    }

    /// Resolves with the name of the next one. The service manager is told that the broker stops.
    pub async fn recv(&mut self) -> &'static str {
        let signal = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        self.received += 1;
        self.manager.stopping();
        signal
    }

    /// How many there were.
    pub fn received(&self) -> u32 {
        self.received
    }
}
