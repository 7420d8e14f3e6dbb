//! Byte budgets that bound what one shard holds in memory for its clients.
//!
//! A budget is a counter with a queue: who finds it spent waits, and gets bytes in the order of asking as they come back. A
//! reader that waits does not read from its socket (TCP pushes back on the client); a request whose answer may be large
//! waits before it is worked at. What is small may go a quarter beyond the limit ([`SMALL_BEYOND_SHARE`]), so that
//! large ones that nobody reads do not hold it up; where that share is spent too, it waits for either.
//!
//! Whoever gets room may take more than there is, so a budget is exceeded by one request, or one answer, at most.
//!
//! Deliberately absent: who is cut off when others wait for what it holds (`connection::pace`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What is kept beside the limit for what is small, as a share of the limit: one in so many.
pub const SMALL_BEYOND_SHARE: usize = 4;

/// What is small: requests, frames and answers of this size do not wait behind larger ones.
pub const SMALL_BYTES: usize = 16 * 1024;

/// A number of bytes that may be held at once.
pub struct ByteBudget {
    limit_bytes: usize,
    used_bytes: Cell<usize>,
    /// What small ones hold beside that.
    small_bytes: Cell<usize>,
    queue: RefCell<Queue>,
}

/// Who waits, in the order of asking.
#[derive(Default)]
struct Queue {
    places: BTreeMap<u64, Rc<Place>>,
    /// Those of them that the share for what is small would do for.
    small: BTreeSet<u64>,
    next: u64,
}

impl Queue {
    fn join(&mut self, place: Rc<Place>) -> u64 {
        let number = self.next;
        self.next += 1;
        if place.small.is_some() {
            self.small.insert(number);
        }
        self.places.insert(number, place);
        number
    }

    fn leave(&mut self, number: u64) -> Option<Rc<Place>> {
        self.small.remove(&number);
        self.places.remove(&number)
    }
}

struct Place {
    ask: Ask,
    /// Bytes that would do, of the share for what is small.
    small: Option<usize>,
    granted: Cell<Option<Held>>,
    waker: RefCell<Waker>,
}

/// What somebody wants.
#[derive(Clone, Copy)]
enum Ask {
    /// So many bytes, as soon as there is any room.
    Whole(usize),
    /// Up to `want` bytes, as soon as there are `least`, or all that there ever are.
    Between { least: usize, want: usize },
}

impl ByteBudget {
    pub fn new(limit_bytes: usize) -> Rc<ByteBudget> {
        Rc::new(ByteBudget {
            limit_bytes,
            used_bytes: Cell::new(0),
            small_bytes: Cell::new(0),
            queue: RefCell::default(),
        })
    }

    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn left_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes.get())
    }

    /// More than half of it is in use: the time to take in less at once.
    pub fn is_short(&self) -> bool {
        self.used_bytes.get() > self.limit_bytes / 2
    }

    /// Somebody waits for bytes to come back.
    pub fn is_waited_for(&self) -> bool {
        !self.queue.borrow().places.is_empty()
    }

    /// Takes `bytes` whether they fit or not: for what is there already.
    pub fn hold(self: &Rc<Self>, bytes: usize) -> Held {
        self.used_bytes.set(self.used_bytes.get() + bytes);
        Held { budget: self.clone(), bytes, is_small: false }
    }

    /// Takes `bytes` if there is any room and nobody waits for it.
    pub fn admit_now(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        self.take_in_turn(Ask::Whole(bytes))
    }

    /// As [`ByteBudget::admit_now`]; what is small has the share that is kept for it too.
    pub fn admit_now_or_small(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        self.admit_now(bytes).or_else(|| self.take_small_in_turn(small_part(bytes)?))
    }

    /// Takes `bytes` as soon as there is any room.
    pub fn admit(self: &Rc<Self>, bytes: usize) -> Admission {
        self.wait_for(Ask::Whole(bytes), None)
    }

    /// As [`ByteBudget::admit`]; what is small waits for the share that is kept for it too.
    pub fn admit_or_small(self: &Rc<Self>, bytes: usize) -> Admission {
        self.wait_for(Ask::Whole(bytes), small_part(bytes))
    }

    /// Takes up to `want` bytes if at least `least` of them are there, or all that there ever are, and nobody waits.
    pub fn take_between(self: &Rc<Self>, least: usize, want: usize) -> Option<Held> {
        self.take_in_turn(Ask::Between { least, want })
    }

    /// As [`ByteBudget::take_between`], as soon as they are there, or `small` bytes of the share that is kept for who needs little.
    pub fn admit_between(self: &Rc<Self>, least: usize, want: usize, small: Option<usize>) -> Admission {
        self.wait_for(Ask::Between { least, want }, small)
    }

    /// Takes `bytes` of what is kept beside the limit for those who need little.
    fn take_small(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        let small_bytes = self.small_bytes.get().saturating_add(bytes);
        (small_bytes <= self.limit_bytes / SMALL_BEYOND_SHARE).then(|| {
            self.small_bytes.set(small_bytes);
            Held { budget: self.clone(), bytes, is_small: true }
        })
    }

    fn take_in_turn(self: &Rc<Self>, ask: Ask) -> Option<Held> {
        if self.is_waited_for() { None } else { self.take(ask) }
    }

    fn take_small_in_turn(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        if self.queue.borrow().small.is_empty() { self.take_small(bytes) } else { None }
    }

    fn take(self: &Rc<Self>, ask: Ask) -> Option<Held> {
        let left = self.left_bytes();
        match ask {
            Ask::Whole(bytes) => (left > 0).then(|| self.hold(bytes)),
            Ask::Between { least, want } => (left >= least.min(self.limit_bytes)).then(|| self.hold(want.min(left))),
        }
    }

    fn wait_for(self: &Rc<Self>, ask: Ask, small: Option<usize>) -> Admission {
        Admission { budget: self.clone(), ask, small, place: None }
    }

    /// Gives those who have waited longest what there is.
    fn hand_out(self: &Rc<Self>) {
        while let Some((place, held)) = self.next_to_get() {
            place.granted.set(Some(held));
            place.waker.borrow().wake_by_ref();
        }
    }

    /// Who gets something now, out of the queue, and what: the first of all, or the first that the share for what is small
    /// does for, however large is what waits before it.
    fn next_to_get(self: &Rc<Self>) -> Option<(Rc<Place>, Held)> {
        let mut queue = self.queue.borrow_mut();
        let (first, place) = queue.places.first_key_value()?;
        let (number, held) = match self.take(place.ask) {
            Some(held) => (*first, held),
            None => {
                let number = *queue.small.first()?;
                let small = queue.places[&number].small.expect("it is among the small ones");
                (number, self.take_small(small)?)
            }
        };
        Some((queue.leave(number).expect("found above"), held))
    }
}

/// `bytes`, if they are few enough for the share that is kept for what is small.
fn small_part(bytes: usize) -> Option<usize> {
    (bytes <= SMALL_BYTES).then_some(bytes)
}

/// A place in the queue of a [`ByteBudget`]; dropping it leaves the queue.
pub struct Admission {
    budget: Rc<ByteBudget>,
    ask: Ask,
    small: Option<usize>,
    place: Option<(u64, Rc<Place>)>,
}

impl Future for Admission {
    type Output = Held;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Held> {
        if let Some((_, place)) = &self.place {
            if let Some(held) = place.granted.take() {
                self.place = None;
                return Poll::Ready(held);
            }
            place.waker.borrow_mut().clone_from(cx.waker());
            return Poll::Pending;
        }
        let in_turn = self.budget.take_in_turn(self.ask);
        if let Some(held) = in_turn.or_else(|| self.budget.take_small_in_turn(self.small?)) {
            return Poll::Ready(held);
        }
        let waker = RefCell::new(cx.waker().clone());
        let place = Rc::new(Place { ask: self.ask, small: self.small, granted: Cell::default(), waker });
        let number = self.budget.queue.borrow_mut().join(place.clone());
        self.place = Some((number, place));
        Poll::Pending
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some((number, place)) = self.place.take() else { return };
        let waited = self.budget.queue.borrow_mut().leave(number).is_some();
        // What was granted goes back, and what somebody smaller behind it waits for may be there.
        drop(place);
        if waited {
            self.budget.hand_out();
        }
    }
}

/// Bytes taken from a [`ByteBudget`]; they go back when this is dropped.
pub struct Held {
    budget: Rc<ByteBudget>,
    bytes: usize,
    /// Of what is kept for those who need little.
    is_small: bool,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Somebody waits for bytes of these to come back.
    pub fn is_waited_for(&self) -> bool {
        let queue = self.budget.queue.borrow();
        self.bytes > 0 && if self.is_small { !queue.small.is_empty() } else { !queue.places.is_empty() }
    }

    /// Gives back all but `bytes`, or takes more so that `bytes` are held.
    pub fn resize(&mut self, bytes: usize) {
        let of = if self.is_small { &self.budget.small_bytes } else { &self.budget.used_bytes };
        of.set(of.get() - self.bytes + bytes);
        let has_given_back = bytes < self.bytes;
        self.bytes = bytes;
        if has_given_back && self.budget.is_waited_for() {
            self.budget.hand_out();
        }
    }
}

impl Held {
    /// Holds `bytes`; where that is more than was given of the share for what is small, they are not of that share.
    pub fn settle(mut self, bytes: usize) -> Held {
        if self.is_small && bytes > self.bytes {
            return self.budget.hold(bytes);
        }
        self.resize(bytes);
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn takes_no_more_than_is_left_and_gives_back_on_drop() {
        let budget = ByteBudget::new(100);
        let first = budget.take_between(10, 70).unwrap();
        let second = budget.take_between(10, 70).unwrap();
        assert_eq!((first.bytes(), second.bytes()), (70, 30));
        assert!(budget.take_between(10, 70).is_none());
        drop(first);
        assert_eq!(budget.used_bytes(), 30);
        assert!(budget.take_between(71, 80).is_none(), "there may be more later");
        assert_eq!(budget.take_between(70, 1000).unwrap().bytes(), 70);
        drop(second);
        assert_eq!(budget.take_between(1000, 1000).unwrap().bytes(), 100, "there is never more");
    }

    #[test]
    fn whoever_finds_room_takes_all_it_needs() {
        let budget = ByteBudget::new(100);
        let first = budget.admit_now(150).unwrap();
        assert!(budget.admit_now(1).is_none());
        let mut second = budget.admit(1);
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert_eq!(second.now_or_never().unwrap().bytes(), 1);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn small_answers_go_a_little_beyond() {
        let budget = ByteBudget::new(100);
        let _large = budget.hold(250);
        let mut small = budget.take_small(20).unwrap();
        assert!(budget.take_small(6).is_none());
        small.resize(30);
        assert!(budget.take_small(1).is_none());
        drop(small);
        assert!(budget.take_small(25).is_some());
        assert_eq!((budget.used_bytes(), budget.small_bytes.get()), (250, 0));
    }

    #[test]
    fn bytes_go_to_those_who_have_waited_longest() {
        let budget = ByteBudget::new(100);
        let mut held = budget.hold(100);
        let mut first = budget.admit_between(60, 80, None);
        let mut second = budget.admit(10);
        let mut third = budget.admit(10);
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        held.resize(50);
        assert!((&mut second).now_or_never().is_none(), "the first does not have enough yet");
        assert!(budget.admit_now(1).is_none() && budget.take_between(1, 1).is_none(), "others wait");
        held.resize(30);
        let first = first.now_or_never().expect("70 are there");
        assert_eq!(first.bytes(), 70);
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some() && third.now_or_never().is_some());
        assert_eq!(budget.used_bytes(), 30);
    }

    #[test]
    fn what_is_small_gets_its_share_behind_what_is_large() {
        let budget = ByteBudget::new(100);
        let held = budget.hold(200);
        let answered = budget.take_small(20).unwrap();
        let mut large = budget.admit(SMALL_BYTES + 1);
        let mut small = budget.admit_or_small(15);
        let mut smaller = budget.admit_between(50, 80, Some(5));
        assert!((&mut large).now_or_never().is_none());
        assert!(held.is_waited_for() && !answered.is_waited_for(), "nobody is small yet");
        for waiting in [&mut small, &mut smaller] {
            assert!(waiting.now_or_never().is_none(), "the share is spent");
        }
        assert!(answered.is_waited_for() && budget.admit_now_or_small(1).is_none(), "others wait for the share");
        drop(answered);
        let small = small.now_or_never().expect("the share is there again");
        let smaller = smaller.now_or_never().expect("for both");
        assert_eq!((small.bytes(), smaller.bytes(), budget.small_bytes.get()), (15, 5, 20));
        assert!((&mut large).now_or_never().is_none() && budget.is_waited_for());
        drop(held);
        assert_eq!(large.now_or_never().unwrap().bytes(), SMALL_BYTES + 1);
        drop((small, smaller));
        assert_eq!((budget.used_bytes(), budget.small_bytes.get(), budget.is_waited_for()), (0, 0, false));
    }

    #[test]
    fn what_is_small_comes_first_where_it_has_waited_longest() {
        let budget = ByteBudget::new(100);
        let held = budget.hold(100);
        let share = budget.take_small(25).unwrap();
        let mut small = budget.admit_or_small(10);
        let mut large = budget.admit(50);
        assert!((&mut small).now_or_never().is_none() && (&mut large).now_or_never().is_none());
        drop(held);
        assert_eq!(small.now_or_never().unwrap().bytes(), 10);
        assert_eq!(large.now_or_never().unwrap().bytes(), 50);
        drop(share);
        assert_eq!((budget.used_bytes(), budget.small_bytes.get()), (0, 0));
    }

    #[test]
    fn whoever_leaves_the_queue_leaves_nothing_behind() {
        let budget = ByteBudget::new(100);
        let mut held = budget.hold(90);
        let mut large = budget.admit_between(50, 50, None);
        let mut small = budget.admit(5);
        assert!((&mut large).now_or_never().is_none() && (&mut small).now_or_never().is_none());
        drop(large);
        let small = small.now_or_never().expect("there was room for it all the time");
        drop(small);
        let mut granted = budget.admit_between(20, 20, None);
        assert!((&mut granted).now_or_never().is_none());
        held.resize(10);
        assert_eq!(budget.used_bytes(), 30, "granted, and not taken yet");
        drop(granted);
        assert_eq!(budget.used_bytes(), 10);
        assert!(!budget.is_waited_for());
    }

    #[test]
    fn what_turns_out_larger_leaves_the_share_of_the_small_ones() {
        let budget = ByteBudget::new(100);
        let settled = budget.take_small(20).unwrap().settle(15);
        assert_eq!((budget.used_bytes(), budget.small_bytes.get()), (0, 15));
        let settled = settled.settle(300);
        assert_eq!((settled.bytes(), budget.used_bytes(), budget.small_bytes.get()), (300, 300, 0));
        drop(settled.settle(10));
        assert_eq!((budget.used_bytes(), budget.small_bytes.get()), (0, 0));
    }
}
