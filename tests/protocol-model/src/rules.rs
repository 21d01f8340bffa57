//! The rules that can be taken out one at a time, to see that the search finds what then goes wrong.
//! Deliberately not the rules themselves: those stand where they are followed.

/// A rule of the design, named by what is done when it is followed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    // Epochs and fences
    /// I4: a request under an old epoch is refused.
    RefuseOldEpochs,
    /// I4: a request of an old generation is refused.
    RefuseOldGenerations,
    /// I5: no request is served before all listed replicas have accepted the generation.
    OpenBeforeServing,
    /// I5: an engine that serves stops after each change of the map until all listed replicas are opened again.
    ServeOnlyReopened,
    /// I5: after each change of the map all listed replicas are opened again, those whose listing is the same too.
    OpenAgainAfterEachMap,
    /// I3: the last InSync replica is never dropped.
    KeepLastInSync,
    /// I7: a report counts only for the listing it names.
    ReportsByListing,
    // Acknowledgements
    /// A write is complete only when every listed replica has acknowledged it.
    AcksOfAll,
    /// A Syncing replica's acknowledgement is waited for, too.
    AcksOfSyncing,
    /// I8: an acknowledgement counts only for the epoch under which it was given.
    AcksByEpoch,
    /// I8: and not for a later epoch of the same listing either.
    AcksByEpochNotListing,
    // Marks
    /// Marks start only when the bucket is wholly reconciled.
    MarksAfterReconciling,
    /// A mark stays below every write in flight.
    MarksBelowFlights,
    /// A Syncing replica keeps the mark it had.
    SyncingKeepsItsMark,
    // Reconciliation
    /// What was left in flight is reconciled.
    Reconcile,
    /// An engine that attaches after a clean detach reconciles as any other.
    ReconcileAfterDetach,
    /// It is done once, before the engine first serves.
    ReconcileOnce,
    /// Only what an InSync replica holds counts.
    InSyncCounts,
    /// A Syncing replica that doesn't hold what counts gets it written.
    ReconcileSyncing,
    /// A Syncing replica agrees only with what it reports: what it holds from before its listing, its copy may yet take away.
    AgreeByReports,
    /// A reconciled write keeps the cut that its version had.
    ReconcileAtItsCut,
    /// Each cut of a block is reconciled, not its newest version alone.
    ReconcileEachCut,
    /// A version that no InSync replica holds is covered by what is seen at its cut.
    FillWhatNobodyHolds,
    /// What is filled in is what the reconciliation itself makes visible at that cut, not what some replica showed.
    FillWithTheReconciled,
    // Copies
    /// A copy goes from the newest cut of a block down.
    CopyNewestCutFirst,
    /// What lies below the target's mark is not copied.
    CopyAboveTheMark,
    /// I6: the source adopts the target's map before it serves a copy.
    SourceAdopts,
    /// The source's fences come with the copy.
    CopyFences,
    /// What only the target holds above its mark is asked for, too.
    CopyWhatTargetHolds,
    /// A write that the target got since it was listed is not copied over.
    KeepNewerWrites,
    /// What the target held before it was listed is, even if its stamp is newer.
    DropWritesFromBefore,
    /// Fenced means fenced at the source.
    FencedAtTheSource,
    /// A Syncing replica reports only what was written to it since it was listed.
    ReportSinceListed,
    /// A write replaces what a replica holds from before its listing, even of a newer stamp.
    WriteOverWhatWasBefore,
    /// What the source does not hold at a cut is taken from the target.
    CopyHoles,
    /// Layers of all cuts are copied, not what is visible at the head.
    CopyEachCut,
    // Cuts
    /// An engine obeys a raised cut only in a Volume that names its own attachment.
    CutByAttachment,
    /// An attaching engine is told the Volume's cut.
    AttachIsToldTheCut,
    /// An engine keeps its cut across a restart.
    RestartKeepsTheCut,
    /// No newer cut is begun before the bucket is reconciled.
    CutAfterReconciling,
    /// A cut is begun only when nothing is in flight.
    CutWithNothingInFlight,
    /// A write in flight keeps its cut in every retry.
    RetryKeepsItsCut,
    /// A report of a cut counts only from the engine of the Volume's attachment.
    ReportsByAttachment,
    // Trims
    /// A trim leaves a version of its own.
    TrimIsAVersion,
    /// A zero stays until something newer covers it.
    ZerosStay,
}

impl Rule {
    /// Every rule.
    pub const ALL: &[Self] = &[
        Self::RefuseOldEpochs,
        Self::RefuseOldGenerations,
        Self::OpenBeforeServing,
        Self::ServeOnlyReopened,
        Self::OpenAgainAfterEachMap,
        Self::KeepLastInSync,
        Self::ReportsByListing,
        Self::AcksOfAll,
        Self::AcksOfSyncing,
        Self::AcksByEpoch,
        Self::AcksByEpochNotListing,
        Self::MarksAfterReconciling,
        Self::MarksBelowFlights,
        Self::SyncingKeepsItsMark,
        Self::Reconcile,
        Self::ReconcileAfterDetach,
        Self::ReconcileOnce,
        Self::InSyncCounts,
        Self::ReconcileSyncing,
        Self::AgreeByReports,
        Self::ReconcileAtItsCut,
        Self::ReconcileEachCut,
        Self::FillWhatNobodyHolds,
        Self::FillWithTheReconciled,
        Self::CopyNewestCutFirst,
        Self::CopyAboveTheMark,
        Self::SourceAdopts,
        Self::CopyFences,
        Self::CopyWhatTargetHolds,
        Self::KeepNewerWrites,
        Self::DropWritesFromBefore,
        Self::FencedAtTheSource,
        Self::ReportSinceListed,
        Self::WriteOverWhatWasBefore,
        Self::CopyHoles,
        Self::CopyEachCut,
        Self::CutByAttachment,
        Self::AttachIsToldTheCut,
        Self::RestartKeepsTheCut,
        Self::CutAfterReconciling,
        Self::CutWithNothingInFlight,
        Self::RetryKeepsItsCut,
        Self::ReportsByAttachment,
        Self::TrimIsAVersion,
        Self::ZerosStay,
    ];
}

/// The rules as they are followed in one search.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rules {
    without: [Option<Rule>; 2],
    /// In place of [`Rule::CutByAttachment`]: a new engine begins with the greatest cut that any replica's answer shows, if that
    /// is greater than the one it was told.
    pub cut_of_answers: bool,
}

impl Rules {
    /// All but one.
    pub fn without(rule: Rule) -> Self {
        Self {
            without: [Some(rule), None],
            cut_of_answers: false,
        }
    }

    /// And all but another.
    #[must_use]
    pub fn and_without(mut self, rule: Rule) -> Self {
        self.without[1] = Some(rule);
        self
    }

    /// Whether a rule is followed.
    pub fn hold(self, rule: Rule) -> bool {
        !self.lack(rule)
    }

    /// Whether a rule is left out.
    pub fn lack(self, rule: Rule) -> bool {
        self.without.contains(&Some(rule))
    }
}

/// How much may happen in one search.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    /// Blocks that are written.
    pub blocks: usize,
    /// Times that the cut is raised.
    pub cuts: u8,
    /// Changes of the map.
    pub maps: usize,
    /// Attaches and restarts.
    pub engines: usize,
    /// Writes and trims of users.
    pub writes: u8,
    /// Leaves out what an exhaustive search can't afford: an acknowledgement is neither late nor lost, nothing is trimmed, and who
    /// learns a map learns the newest, or the one of the other side.
    pub plain: bool,
}
