//! Who may do what over HTTP: keys with a role, in some namespaces or in all.
//!
//! A key is 32 random bytes; the database has its SHA-256 alone. What a role may is decided here, in one place; the server asks.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

/// What a key's bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, and submit tasks.
    Submitter,
    /// Look; later, run steps over HTTP.
    Worker,
    /// Look, submit, and act by hand: cancel, pause, resume, retry, resolve, edit.
    Operator,
    /// Everything, registering workflows included.
    Admin,
}

/// What an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// To look.
    Read,
    /// To submit tasks.
    Submit,
    /// To act by hand on tasks and steps.
    Operate,
    /// To register workflows: whoever may has workers run what he wrote.
    Register,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Submitter, Role::Worker, Role::Operator, Role::Admin];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Submitter => "submitter",
            Role::Worker => "worker",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Whether it has a permission.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Submit => matches!(self, Role::Submitter | Role::Operator | Role::Admin),
            Permission::Operate => matches!(self, Role::Operator | Role::Admin),
            Permission::Register => self == Role::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Role, String> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == word);
        role.ok_or_else(|| format!("a role is one of {}", Role::ALL.map(Role::as_str).join(", ")))
    }
}

impl Permission {
    /// All of them.
    pub const ALL: [Permission; 4] = [Permission::Read, Permission::Submit, Permission::Operate, Permission::Register];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Submit => "submit",
            Permission::Operate => "operate",
            Permission::Register => "register",
        }
    }

    /// The permission of this word.
    pub fn of(word: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.as_str() == word)
    }
}

/// A key as the database knows it.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ApiKey {
    /// Its id.
    pub api_key_id: Uuid,
    /// Whose it is.
    pub name: String,
    /// What its bearer may do.
    #[sqlx(try_from = "String")]
    pub role: Role,
    /// In which namespaces; `None`: in all.
    pub namespaces: Option<Vec<String>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// It is good for nothing from then on.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it has been good for nothing.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(word: String) -> Result<Role, String> {
        word.parse()
    }
}

/// A key's own text, which is told once. It is not printed by accident.
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub(crate) fn random() -> Secret {
        // two random UUIDs: 244 random bits
        Secret(format!("tasker_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// What is kept of a key's text.
    pub(crate) fn hash(text: &str) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        Sha256::digest(text).to_vec()
    }

    /// The text, to be given to its bearer.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
