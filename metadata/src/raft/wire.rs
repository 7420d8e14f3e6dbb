//! What members say to each other, as bytes, and how a member answers.
//!
//! Each message has a version and a checksum of its own; whoever carries it ([`Transport`]) adds only its length. Garbage is
//! an error to whoever sent it, and changes nothing.

use super::snapshot::{SnapshotBytes, State};
use super::stored::{EntryForm, LogIdForm, VoteForm};
use super::{Entry, LogId, MetadataRaft, Vote};
use crate::checked::{CodecError, Format};
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::Snapshot;
use serde::{Deserialize, Serialize};

const QUESTION: Format = Format { what: "raft request", version: 3, oldest: 1 };
const ANSWER: Format = Format { what: "raft response", version: 1, oldest: 1 };

#[derive(Debug, Serialize, Deserialize)]
enum QuestionForm {
    Append {
        vote: VoteForm,
        previous: Option<LogIdForm>,
        entries: Vec<EntryForm>,
        committed: Option<LogIdForm>,
    },
    Vote {
        vote: VoteForm,
        last: Option<LogIdForm>,
    },
    /// A snapshot says itself what it covers.
    Install {
        vote: VoteForm,
        snapshot: SnapshotBytes,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum AnswerForm {
    Appended(AppendedForm),
    Voted {
        vote: VoteForm,
        granted: bool,
        last: Option<LogIdForm>,
    },
    Installed {
        vote: VoteForm,
    },
    /// The member could not do it.
    Failed(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum AppendedForm {
    All,
    UpTo(Option<LogIdForm>),
    Conflict,
    HigherVote(VoteForm),
}

/// Why an answer is none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the member answered another request than it was asked")]
    Misplaced,
    #[error("the member failed: {0}")]
    Failed(String),
}

pub(super) fn append_question(request: &AppendEntriesRequest<MetadataRaft>) -> Vec<u8> {
    QUESTION.encode(&QuestionForm::Append {
        vote: request.vote.into(),
        previous: request.prev_log_id.map(LogIdForm::from),
        entries: request.entries.iter().map(EntryForm::from).collect(),
        committed: request.leader_commit.map(LogIdForm::from),
    })
}

pub(super) fn vote_question(request: &VoteRequest<u64>) -> Vec<u8> {
    let (vote, last) = (request.vote.into(), request.last_log_id.map(LogIdForm::from));
    QUESTION.encode(&QuestionForm::Vote { vote, last })
}

pub(super) fn install_question(vote: Vote, snapshot: &SnapshotBytes) -> Vec<u8> {
    QUESTION.encode(&QuestionForm::Install { vote: vote.into(), snapshot: snapshot.clone() })
}

/// Answers another member's question.
pub(super) async fn answer(raft: &Raft<MetadataRaft>, question: &[u8]) -> Vec<u8> {
    let form = match QUESTION.decode(question) {
        Ok(question) => carry_out(raft, question).await,
        Err(error) => AnswerForm::Failed(error.to_string()),
    };
    ANSWER.encode(&form)
}

async fn carry_out(raft: &Raft<MetadataRaft>, question: QuestionForm) -> AnswerForm {
    match question {
        QuestionForm::Append { vote, previous, entries, committed } => {
            let request = AppendEntriesRequest {
                vote: vote.into(),
                prev_log_id: previous.map(LogId::from),
                entries: entries.into_iter().map(Entry::from).collect(),
                leader_commit: committed.map(LogId::from),
            };
            if let Some(reason) = out_of_place(request.prev_log_id, &request.entries) {
                return AnswerForm::Failed(reason);
            }
            match raft.append_entries(request).await {
                Ok(AppendEntriesResponse::Success) => AnswerForm::Appended(AppendedForm::All),
                Ok(AppendEntriesResponse::PartialSuccess(up_to)) => {
                    AnswerForm::Appended(AppendedForm::UpTo(up_to.map(LogIdForm::from)))
                }
                Ok(AppendEntriesResponse::Conflict) => AnswerForm::Appended(AppendedForm::Conflict),
                Ok(AppendEntriesResponse::HigherVote(vote)) => {
                    AnswerForm::Appended(AppendedForm::HigherVote(vote.into()))
                }
                Err(error) => AnswerForm::Failed(error.to_string()),
            }
        }
        QuestionForm::Vote { vote, last } => {
            match raft.vote(VoteRequest::new(vote.into(), last.map(LogId::from))).await {
                Ok(VoteResponse { vote, vote_granted: granted, last_log_id }) => {
                    AnswerForm::Voted { vote: vote.into(), granted, last: last_log_id.map(LogIdForm::from) }
                }
                Err(error) => AnswerForm::Failed(error.to_string()),
            }
        }
        QuestionForm::Install { vote, snapshot } => {
            // Looked at before Raft is told, to which a snapshot that cannot be read is the end.
            let meta = match State::decode(&snapshot) {
                Ok(state) => state.meta(),
                Err(error) => return AnswerForm::Failed(error.to_string()),
            };
            let snapshot = Snapshot { meta, snapshot: Box::new(snapshot) };
            match raft.install_full_snapshot(vote.into(), snapshot).await {
                Ok(SnapshotResponse { vote }) => AnswerForm::Installed { vote: vote.into() },
                Err(error) => AnswerForm::Failed(error.to_string()),
            }
        }
    }
}

/// What is wrong with the order of entries that follow `previous`. Raft takes it for granted.
fn out_of_place(previous: Option<LogId>, entries: &[Entry]) -> Option<String> {
    let mut previous = previous;
    for entry in entries {
        let expected = previous.map_or(0, |previous| previous.index.saturating_add(1));
        if entry.log_id.index != expected || previous.is_some_and(|previous| entry.log_id <= previous) {
            return Some(format!("entry {} does not follow: expected index {expected}", entry.log_id));
        }
        previous = Some(entry.log_id);
    }
    None
}

pub(super) fn appended(answer: &[u8]) -> Result<AppendEntriesResponse<u64>, AnswerError> {
    match ANSWER.decode(answer)? {
        AnswerForm::Appended(AppendedForm::All) => Ok(AppendEntriesResponse::Success),
        AnswerForm::Appended(AppendedForm::UpTo(up_to)) => {
            Ok(AppendEntriesResponse::PartialSuccess(up_to.map(LogId::from)))
        }
        AnswerForm::Appended(AppendedForm::Conflict) => Ok(AppendEntriesResponse::Conflict),
        AnswerForm::Appended(AppendedForm::HigherVote(vote)) => Ok(AppendEntriesResponse::HigherVote(vote.into())),
        other => Err(none(other)),
    }
}

pub(super) fn voted(answer: &[u8]) -> Result<VoteResponse<u64>, AnswerError> {
    match ANSWER.decode(answer)? {
        AnswerForm::Voted { vote, granted, last } => {
            Ok(VoteResponse { vote: vote.into(), vote_granted: granted, last_log_id: last.map(LogId::from) })
        }
        other => Err(none(other)),
    }
}

pub(super) fn installed(answer: &[u8]) -> Result<SnapshotResponse<u64>, AnswerError> {
    match ANSWER.decode(answer)? {
        AnswerForm::Installed { vote } => Ok(SnapshotResponse::new(vote.into())),
        other => Err(none(other)),
    }
}

fn none(answer: AnswerForm) -> AnswerError {
    match answer {
        AnswerForm::Failed(reason) => AnswerError::Failed(reason),
        AnswerForm::Appended(_) | AnswerForm::Voted { .. } | AnswerForm::Installed { .. } => AnswerError::Misplaced,
    }
}
