//! What happens when: the events to come, in the order of their time, and of their making where
//! that is equal.

use std::collections::BTreeMap;

/// Microseconds since the run began.
pub(crate) type Micros = u64;

/// One millisecond.
pub(crate) const MS: Micros = 1000;

/// The events to come.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    events: BTreeMap<(Micros, u64), E>,
    made: u64,
    now: Micros,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            made: 0,
            now: 0,
        }
    }
}

impl<E> Agenda<E> {
    /// The time of the event that happened last.
    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    /// Has the event happen so much later than now.
    pub(crate) fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now + delay, event);
    }

    /// Has the event happen then, or now if that is over.
    pub(crate) fn at(&mut self, time: Micros, event: E) {
        self.made += 1;
        self.events.insert((time.max(self.now), self.made), event);
    }

    /// The next event; its time is now.
    pub(crate) fn next_event(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_in_order_of_time_then_of_their_making() {
        let mut agenda = Agenda::default();
        agenda.at(20, 'c');
        agenda.at(10, 'a');
        agenda.at(10, 'b');
        assert_eq!(agenda.next_event(), Some('a'));
        agenda.at(3, 'x');
        assert_eq!(
            [agenda.next_event(), agenda.next_event()],
            [Some('b'), Some('x')]
        );
        assert_eq!(agenda.now(), 10, "the past can't be changed");
        agenda.after(5, 'd');
        assert_eq!(
            [agenda.next_event(), agenda.next_event()],
            [Some('d'), Some('c')]
        );
        assert_eq!(agenda.next_event(), None);
    }
}
