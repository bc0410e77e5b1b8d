//! The places of uploads: a bounded number of them arrive at the same time, shared between people.
//!
//! Nobody who has a place is cut off, so places are left for those who come: a person gets another one only while more are
//! free than they hold. One person alone gets half of all. A place that is returned goes to the first one waiting who may
//! have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::id::UserId;
use tokio::sync::oneshot;

#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// How many each person holds, if any.
    held: HashMap<UserId, usize>,
    /// In the order in which they came.
    waiting: Vec<(UserId, oneshot::Sender<Place>)>,
}

/// A place; it is returned when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    user: UserId,
}

impl Places {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, held: HashMap::new(), waiting: Vec::new() })))
    }

    /// Waits for a place. Whoever stops waiting leaves nothing behind.
    pub async fn acquire(&self, user: UserId) -> Option<Place> {
        let (sender, receiver) = oneshot::channel();
        self.state().waiting.push((user, sender));
        self.hand_out();
        receiver.await.ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the free places to those who wait.
    fn hand_out(&self) {
        loop {
            let Some((user, sender)) = self.state().next() else { return };
            // Sent without the lock: who has stopped waiting returns the place, which takes the lock.
            let _ = sender.send(Place { places: self.clone(), user });
        }
    }
}

impl State {
    /// Takes a place for the next one who waits and may have it.
    fn next(&mut self) -> Option<(UserId, oneshot::Sender<Place>)> {
        self.waiting.retain(|(_, sender)| !sender.is_closed());
        let held = |user: &UserId| self.held.get(user).copied().unwrap_or_default();
        let at = self.waiting.iter().position(|(user, _)| held(user) < self.free)?;
        let (user, sender) = self.waiting.remove(at);
        self.free -= 1;
        *self.held.entry(user).or_default() += 1;
        Some((user, sender))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.places.state();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&self.user) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.user);
                }
            }
        }
        self.places.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId(Uuid::from_u128(number))
    }

    /// The place, if there is one now.
    fn now(acquiring: Pin<&mut impl Future<Output = Option<Place>>>) -> Option<Place> {
        match acquiring.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    /// The places that a person gets at once.
    fn take(places: &Places, who: u128) -> Vec<Place> {
        std::iter::from_fn(|| now(pin!(places.acquire(user(who))))).collect()
    }

    #[test]
    fn a_person_leaves_places_for_others() {
        let places = Places::new(12);
        let one = take(&places, 1);
        assert_eq!(one.len(), 6, "half of all, alone");
        let two = take(&places, 2);
        assert_eq!(two.len(), 3, "half of what is left");
        assert_eq!(take(&places, 3).len(), 2);
        drop((one, two));
        assert_eq!(take(&places, 1).len(), 6, "what was returned");
        let state = places.state();
        assert!(state.free == 12 && state.held.is_empty() && state.waiting.len() < 2, "{state:?}");
    }

    #[test]
    fn a_returned_place_goes_to_the_first_one_who_may_have_it() {
        let places = Places::new(2);
        let (one, mut two) = (take(&places, 1), take(&places, 2));
        assert_eq!((one.len(), two.len()), (1, 1));
        let mut again = pin!(places.acquire(user(1)));
        let mut third = pin!(places.acquire(user(3)));
        let mut fourth = pin!(places.acquire(user(4)));
        assert!(now(again.as_mut()).is_none() && now(third.as_mut()).is_none() && now(fourth.as_mut()).is_none());
        two.pop();
        assert!(now(again.as_mut()).is_none(), "it holds one");
        let third = now(third.as_mut()).expect("the first of those who hold none");
        assert!(now(fourth.as_mut()).is_none());
        drop(third);
        assert!(now(fourth.as_mut()).is_some());
    }

    #[test]
    fn who_stops_waiting_loses_no_place() {
        let places = Places::new(1);
        let held = take(&places, 1);
        assert!((2..5).all(|who| take(&places, who).is_empty()));
        let mut late = Box::pin(places.acquire(user(6)));
        assert!(now(late.as_mut()).is_none());
        drop(held);
        // It was given a place, and does not take it.
        drop(late);
        assert_eq!(take(&places, 7).len(), 1);
    }
}
