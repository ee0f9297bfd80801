//! How a command ends: its exit code, and where it could not do what was asked, a sentence for stderr.

use std::{fmt, process::ExitCode};

use tasker::Error;

/// The exit codes, which scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// 0: what was asked for is done.
    Done,
    /// 1: the workflow failed, or `doctor` found something.
    Failed,
    /// 2: the command line, the file or the verb makes no sense as it is; nothing was changed.
    Misused,
    /// 3: the database or the disk did not let it happen.
    Unable,
    /// 130: a signal ended it.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        ExitCode::from(match ending {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::Misused => 2,
            Ending::Unable => 3,
            Ending::Interrupted => 130,
        })
    }
}

/// Why a command could not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub ending: Ending,
    /// For people, on stderr.
    pub message: String,
    /// The stable word of what refused, for programs.
    pub code: Option<String>,
}

impl Failure {
    /// What was asked makes no sense.
    pub fn misused(message: impl Into<String>) -> Failure {
        Failure { ending: Ending::Misused, message: message.into(), code: None }
    }

    /// What was asked cannot be done here and now.
    pub fn unable(message: impl Into<String>) -> Failure {
        Failure { ending: Ending::Unable, message: message.into(), code: None }
    }

    /// With a stable word.
    pub fn coded(self, code: &str) -> Failure {
        Failure { code: Some(code.into()), ..self }
    }

    /// Whether it has this word.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        write!(f, "{}{code}", self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused { .. } | Error::Definition(_) | Error::Json { .. } => {
                Failure::misused(error.to_string()).coded(error.code())
            }
            Error::DatabaseUrl(_) => Failure::misused(error.to_string()),
            _ => Failure::unable(error.to_string()),
        }
    }
}
