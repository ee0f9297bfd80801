//! A payment service that fails now and then: it is busy, its answers get lost, and it remembers by idempotency key what it has done.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The service, far away.
#[derive(Clone, Default)]
pub struct Payments(Arc<Mutex<Ledger>>);

#[derive(Default)]
struct Ledger {
    requests: usize,
    by_key: HashMap<String, u32>,
}

/// What it says.
pub enum Reply {
    /// The receipt's number.
    Paid(u32),
    /// Ask again after this time.
    Busy(Duration),
    /// There is no such money.
    Declined,
}

impl Payments {
    /// Takes so much, once for each key.
    ///
    /// # Errors
    /// The connection broke: it may have happened or not.
    pub async fn charge(&self, key: &str, cents: u32) -> io::Result<Reply> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.requests += 1;
        let mood = ledger.requests % 5;
        if mood == 1 {
            return Ok(Reply::Busy(Duration::from_millis(30)));
        }
        if cents > 100_000 {
            return Ok(Reply::Declined);
        }
        let next = ledger.by_key.len() as u32 + 1;
        let number = *ledger.by_key.entry(key.into()).or_insert(next);
        match mood {
            // done, and the answer is lost
            3 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke")),
            _ => Ok(Reply::Paid(number)),
        }
    }

    /// Requests, and payments made.
    pub fn counts(&self) -> (usize, usize) {
        let ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ledger.requests, ledger.by_key.len())
    }
}
