//! TCP over the loopback device, between two threads: what any broker and its clients on one machine have at most.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;
use crate::limits::{LimitsError, mb_per_second};

/// Bytes of one write, and of one read.
const LARGE_BYTES: usize = 256 << 10;
/// Bytes that go there and come back.
const SMALL_BYTES: usize = 100;

/// Megabytes per second one way, and round trips per second.
pub fn measure(time: Duration, interrupt: &Interrupt) -> Result<(f64, f64), LimitsError> {
    Ok((stream(time, interrupt)?, round_trips(time, interrupt)?))
}

fn stream(time: Duration, interrupt: &Interrupt) -> Result<f64, LimitsError> {
    let (mut near, mut far) = connected()?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> io::Result<u64> {
            let mut chunk = vec![0; LARGE_BYTES];
            let mut bytes = 0;
            loop {
                match far.read(&mut chunk)? {
                    0 => return Ok(bytes),
                    size => bytes += size as u64,
                }
            }
        });
        let chunk = vec![0x5a; LARGE_BYTES];
        let began = Instant::now();
        let mut sent = Ok(());
        while sent.is_ok() && began.elapsed() < time {
            sent = interrupt
                .check()
                .map_err(LimitsError::from)
                .and_then(|()| near.write_all(&chunk).map_err(failed("writing")));
        }
        // Ends the reader, whatever became of the writing.
        drop(near);
        let bytes = reader.join().expect("the reader does not panic").map_err(failed("reading"))?;
        sent.map(|()| mb_per_second(bytes, began.elapsed()))
    })
}

fn round_trips(time: Duration, interrupt: &Interrupt) -> Result<f64, LimitsError> {
    let (near, mut far) = connected()?;
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            let mut message = [0; SMALL_BYTES];
            // Ends when the other side is gone.
            while far.read_exact(&mut message).and_then(|()| far.write_all(&message)).is_ok() {}
        });
        // Closed on every way out of this closure, which ends the other thread.
        let mut near = near;
        let mut message = [0x5a; SMALL_BYTES];
        let (began, mut trips) = (Instant::now(), 0_u64);
        while began.elapsed() < time {
            interrupt.check()?;
            near.write_all(&message).map_err(failed("writing"))?;
            near.read_exact(&mut message).map_err(failed("reading"))?;
            trips += 1;
        }
        Ok(trips as f64 / began.elapsed().as_secs_f64())
    })
}

fn connected() -> Result<(TcpStream, TcpStream), LimitsError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listening"))?;
    let address = listener.local_addr().map_err(failed("listening"))?;
    let near = TcpStream::connect(address).map_err(failed("connecting"))?;
    let (far, _) = listener.accept().map_err(failed("accepting"))?;
    for stream in [&near, &far] {
        stream.set_nodelay(true).map_err(failed("setting TCP_NODELAY"))?;
    }
    Ok((near, far))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> LimitsError {
    move |source| LimitsError::Loopback { action, source }
}
