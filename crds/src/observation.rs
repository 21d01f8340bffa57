//! Conditions as values: what a writer sees now, merged with what it said before.
//!
//! Every writer of a list of conditions applies its own types and no others (the lists are maps by
//! type), so each is merged by itself. Not here: what is true, which the writers decide.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The most bytes of a message that the schema takes.
const MESSAGE_LIMIT_BYTES: usize = 32_768;

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    True,
    /// It doesn't.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Holds {
    /// The status as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One thing that a writer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The condition's type, one of [`crate::conditions`].
    pub condition: &'static str,
    /// Whether it holds.
    pub holds: Holds,
    /// Why, as one stable CamelCase word.
    pub reason: &'static str,
    /// Why, since when and what happens next, for people. It must not change while nothing does:
    /// each change is a write.
    pub message: String,
    /// The generation of the object that was looked at.
    pub generation: Option<i64>,
}

impl Observation {
    /// The condition to write, where `before` is what the object says: the time of the transition is
    /// kept while the status is the same.
    pub fn following(self, before: &[Condition], now: Timestamp) -> Condition {
        let status = self.holds.as_str();
        let last_transition_time = find(before, self.condition)
            .filter(|held| held.status == status)
            .map_or_else(|| to_seconds(now), |held| held.last_transition_time.clone());
        let mut message = self.message;
        message.truncate(message.floor_char_boundary(MESSAGE_LIMIT_BYTES));
        Condition {
            type_: self.condition.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time,
        }
    }
}

/// The condition of this type, if the list has it.
pub fn find<'a>(conditions: &'a [Condition], condition: &str) -> Option<&'a Condition> {
    conditions.iter().find(|held| held.type_ == condition)
}

/// A time as objects keep it: to the second. What is finer is lost on the way, and the object would
/// never equal what was written.
pub fn to_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::READY;

    fn seen(holds: Holds, reason: &'static str) -> Observation {
        Observation {
            condition: READY,
            holds,
            reason,
            message: format!("because {reason}"),
            generation: Some(3),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 500).unwrap()
    }

    #[test]
    fn the_time_of_a_transition_is_kept_while_the_status_is_the_same() {
        let first = seen(Holds::False, "NoNodes").following(&[], at(100));
        assert_eq!(first.last_transition_time, to_seconds(at(100)));
        let other_reason =
            seen(Holds::False, "NoAgents").following(std::slice::from_ref(&first), at(200));
        assert_eq!(other_reason.reason, "NoAgents");
        assert_eq!(other_reason.last_transition_time, to_seconds(at(100)));
        let turned = seen(Holds::True, "Serving").following(&[other_reason], at(300));
        assert_eq!(turned.last_transition_time, to_seconds(at(300)));
    }

    #[test]
    fn conditions_of_other_types_are_not_looked_at() {
        let other = Condition {
            type_: "Other".to_owned(),
            ..seen(Holds::True, "Serving").following(&[], at(100))
        };
        let ready = seen(Holds::True, "Serving").following(&[other], at(200));
        assert_eq!(ready.last_transition_time, to_seconds(at(200)));
    }

    #[test]
    fn what_is_written_equals_what_is_read_back() {
        let written = seen(Holds::True, "Serving").following(&[], at(100));
        let text = serde_json::to_string(&written).unwrap();
        let read: Condition = serde_json::from_str(&text).unwrap();
        assert_eq!(read, written);
    }

    #[test]
    fn a_message_is_cut_to_what_the_schema_takes() {
        let mut long = seen(Holds::False, "NoNodes");
        long.message = "ä".repeat(MESSAGE_LIMIT_BYTES);
        let written = long.following(&[], at(100));
        assert_eq!(written.message.len(), MESSAGE_LIMIT_BYTES);
    }
}
