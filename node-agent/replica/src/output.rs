//! What comes out of the core, and the names that go with it.

use moraine_model::{BucketId, DiskId, Epoch};
use moraine_protocol::{Reply, Request, RequestId};
use moraine_store::Buffer;

/// A connection over which requests come, named by the shell. No two ever have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A request of this shard's replicas to one elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What the shell is to do.
#[derive(Debug)]
pub enum Output {
    /// Answer a request.
    Reply {
        /// The connection that it came over.
        session: SessionId,
        /// Its name there.
        id: RequestId,
        /// The answer.
        reply: Reply,
        /// The data of the reply's parts, one behind the other. A buffer may hold that of several
        /// parts, where they lie side by side on the disk. To be recycled when sent.
        payload: Vec<Buffer>,
    },
    /// Ask the shard that serves the request's bucket at that disk, and tell the answer by
    /// [`crate::Replicas::answered`]: also that none came, for nothing here times out.
    Call {
        /// The name of the call.
        call: CallId,
        /// The disk to ask.
        disk: DiskId,
        /// What to ask.
        request: Request,
    },
    /// The copy for this listing is whole (invariant I7). Repeated until the entry says so.
    Synced {
        /// The bucket.
        bucket: BucketId,
        /// The epoch since which the replica is listed.
        since: Epoch,
    },
}
