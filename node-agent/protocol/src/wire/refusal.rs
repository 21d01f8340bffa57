//! The body of a refusal. The numbers are part of the protocol and are never used again.

use crate::cursor::{Field, Reader, tagged};
use crate::{BodyError, Refusal, Rule};

tagged!(Refusal, "refusal" {
    0 = StaleEpoch { entry }
    1 = Fenced { by }
    2 = NotOpen {}
    3 = NotInSync {}
    4 = NotHere {}
    5 = UnknownVolume {}
    6 = Deleted {}
    7 = NoSnapshot {}
    8 = NoSpace {}
    9 = Damaged { block }
    10 = Mismatch { block }
    11 = Busy {}
    12 = Stopped {}
    13 = Malformed { rule }
});

tagged!(Rule, "rule of the protocol" {
    0 = PayloadFitsRange {}
    1 = OneEntryPerEpoch {}
    2 = AskedIsListed {}
    3 = StampInRange {}
    4 = SourceInSync {}
    5 = StoreLimits {}
});
