//! Steps in words, for traces that people read. Deliberately nothing that decides anything.

use crate::action::Action;
use crate::state::{CUTS, Engine, Message, State, visible};
use crate::truth::{name_of, replica_name as name};

impl Action {
    /// The step in words, said of the state it begins in.
    pub fn words(self, state: &State) -> String {
        match self {
            Self::Arrives(message) => message_words(&message),
            _ => self
                .control_words(state)
                .or_else(|| self.replica_words(state))
                .unwrap_or_else(|| self.engine_words(state)),
        }
    }

    fn control_words(self, state: &State) -> Option<String> {
        let (next, volume) = (state.newest_epoch() + 1, state.volume());
        Some(match self {
            Self::List(replica) => {
                let replica = name(replica);
                format!("epoch {next}: the operator lists replica {replica} as Syncing")
            }
            Self::Drop(replica) => {
                format!("epoch {next}: the operator drops replica {}", name(replica))
            }
            Self::Promote(replica) => {
                let replica = name(replica);
                format!("epoch {next}: the operator makes replica {replica} InSync")
            }
            Self::RaiseCut => format!("the controller raises the cut to {}", volume.wanted + 1),
            Self::Attach => {
                let (attach, cut, epoch) = (volume.attach + 1, volume.wanted, next - 1);
                format!(
                    "the controller attaches engine {attach}.1 with cut {cut} and epoch {epoch}"
                )
            }
            _ => return None,
        })
    }

    fn replica_words(self, state: &State) -> Option<String> {
        Some(match self {
            Self::ReplicaLearns(replica, epoch) => {
                format!("replica {} adopts epoch {epoch}", name(replica))
            }
            Self::Copies(replica, source, (block, cut)) => {
                let (to, from) = (name(replica), name(source));
                format!("replica {to} copies block {block} at cut {cut} from replica {from}")
            }
            Self::LosesZero(replica, (block, cut)) => {
                let replica = name(replica);
                format!("replica {replica} loses the zero of block {block} at cut {cut}")
            }
            Self::IsRefused(engine, replica) => {
                let (engine, epoch) = (state.name(engine), state.replicas[replica].epoch);
                let replica = name(replica);
                format!("{engine} is refused by replica {replica} and learns epoch {epoch}")
            }
            Self::Reads(engine, replica, block) => {
                let value = visible(&state.replicas[replica].layers[block], CUTS - 1);
                let (engine, replica) = (state.name(engine), name(replica));
                format!("{engine} reads {value} in block {block} from replica {replica}")
            }
            _ => return None,
        })
    }

    fn engine_words(self, state: &State) -> String {
        let Some(at) = self.engine() else {
            return format!("{self:?}");
        };
        let Engine {
            generation,
            epoch,
            cut,
            told,
            ..
        } = state.engines[at];
        let does = match self {
            Self::Restart(_) => {
                let new = generation.incarnation + 1;
                format!("restarts as incarnation {new} with the kept epoch {epoch} and cut {cut}")
            }
            Self::Detach(_) => "detaches cleanly".to_owned(),
            Self::EngineLearns(_, epoch) => format!("learns epoch {epoch}"),
            Self::SeesVolume(_, seen) => {
                let volume = state.volumes[usize::from(seen)];
                let (attach, wanted) = (volume.attach, volume.wanted);
                format!("sees the Volume of attach {attach} with cut {wanted}")
            }
            Self::Opens(_, replica) => {
                format!("opens replica {} under epoch {epoch}", name(replica))
            }
            Self::Writes(_, block) => {
                let value = state.writes + 1;
                format!("begins to write {value} to block {block} at cut {cut}")
            }
            Self::Trims(_, block) => format!("begins to trim block {block} at cut {cut}"),
            Self::BeginsCut(_) => format!("begins cut {told}"),
            _ => format!("{self:?}"),
        };
        format!("{} {does}", name_of(generation))
    }
}

fn message_words(message: &Message) -> String {
    match *message {
        Message::Write {
            epoch,
            block,
            cut,
            stamp,
            value,
            to,
            ..
        } => {
            let (to, from, number) = (name(to.into()), name_of(stamp.generation), stamp.sequence);
            format!(
                "replica {to} gets write {number} of {from} under epoch {epoch}: {value} to block {block} at cut {cut}"
            )
        }
        Message::Ack {
            epoch, stamp, from, ..
        } => {
            let (from, to, number) = (name(from.into()), name_of(stamp.generation), stamp.sequence);
            format!(
                "{to} gets replica {from}'s acknowledgement of write {number} under epoch {epoch}"
            )
        }
        Message::Reached { attach, cut } => {
            format!("the report comes that attach {attach} has reached cut {cut}")
        }
    }
}
