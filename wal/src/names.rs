//! Keeps renames and removals of a log's files away from opens of the same.
//!
//! glommio 0.9 panics if a path disappears while it is being opened. Readers open sealed segments at any time, so who
//! renames or removes files waits until no open is under way, and opens wait meanwhile.

use std::cell::Cell;

use crate::sync::Notify;

/// Many opens, or one change of names.
#[derive(Default)]
pub(crate) struct NameLock {
    opens: Cell<usize>,
    changing: Cell<bool>,
    released: Notify,
}

/// Held while a file is being opened.
pub(crate) struct Opening<'a>(&'a NameLock);

/// Held while names change.
pub(crate) struct Changing<'a>(&'a NameLock);

impl NameLock {
    pub(crate) async fn opening(&self) -> Opening<'_> {
        self.released
            .wait_for(|| {
                (!self.changing.get()).then(|| {
                    self.opens.set(self.opens.get() + 1);
                    Opening(self)
                })
            })
            .await
    }

    pub(crate) async fn changing(&self) -> Changing<'_> {
        let changing = self
            .released
            .wait_for(|| (!self.changing.get()).then(|| self.changing.set(true)).map(|()| Changing(self)))
            .await;
        self.released.wait_for(|| (self.opens.get() == 0).then_some(())).await;
        changing
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opens.set(self.0.opens.get() - 1);
        self.0.released.notify_all();
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changing.set(false);
        self.0.released.notify_all();
    }
}
