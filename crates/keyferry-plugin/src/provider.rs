//! What a plugin implements: [`Provider`].

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contract::{
    Attachment, Context, Create, Credentials, Delete, ErrorKind, Import, List, Operation, OperationKind,
    PairReference, ProviderError, Reply, RunCommand, Step, StepRequest,
};

/// What an operation answers: its next step, or why it failed.
pub type Answer = Result<Step, ProviderError>;

/// One vendor's API.
///
/// keyferry calls the method of the operation in progress once per step, on one thread, with the same parameters
/// every time. A method looks at [`Turn::reply`] to see how far it is: none at the first step, afterwards what the
/// step before led to. [`Step::Http`], [`Step::Wait`] and [`Step::Read`] make keyferry do that and call again;
/// [`Step::Done`] and an error end the operation. Whether it is tried again is keyferry's decision, by the error's kind.
///
/// A method is a pure function: the same parameters and turn give the same answer. Time and nonce come from
/// [`Turn::context`]; what must last to the next step goes into the step's `state`, which must hold no more than that.
///
/// Operations that are not implemented are answered [`ErrorKind::Unsupported`]; the manifest does not list them.
#[expect(unused_variables, reason = "a default refuses before it looks")]
pub trait Provider {
    /// Makes a pair at the vendor, as [`Outcome::Pair`](crate::contract::Outcome). The request captures `private_key`.
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Create))
    }

    /// Registers a public key, as [`Outcome::Pair`](crate::contract::Outcome).
    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Import))
    }

    /// Lists all pairs: pages are emitted, the last one is [`Outcome::Pairs`](crate::contract::Outcome).
    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::List))
    }

    /// Describes one pair, as [`Outcome::Pair`](crate::contract::Outcome); [`ErrorKind::NotFound`] where there is none of exactly that name.
    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Get))
    }

    /// Deletes pairs, as [`Outcome::Deleted`](crate::contract::Outcome).
    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Delete))
    }

    /// Binds a pair to instances, as [`Outcome::Attached`](crate::contract::Outcome).
    fn attach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Attach))
    }

    /// Releases a pair from instances, as [`Outcome::Attached`](crate::contract::Outcome).
    fn detach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Detach))
    }

    /// Tells which instances name a pair, as [`Outcome::Instances`](crate::contract::Outcome).
    fn list_instances(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::ListInstances))
    }

    /// Runs a command on an instance through the vendor. Not asked for in this version.
    fn run_command(&self, command: &RunCommand, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::RunCommand))
    }

    /// Finds the account's credentials in the vendor's own chain, as [`Outcome::Credentials`](crate::contract::Outcome).
    /// Called when an account names no other source, before its first request; where the manifest says `login`, also when it
    /// does, with the given fields in [`Context::credential_fields`].
    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Credentials))
    }

    /// Lists the profiles that the vendor's own tools have on this machine, as
    /// [`Outcome::Profiles`](crate::contract::Outcome). It reads sources and sends nothing.
    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        Err(unsupported(OperationKind::Profiles))
    }
}

/// How far an operation is, and what a plugin may know about the moment and the account.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Time, nonce and the account's settings.
    pub context: &'a Context,
    /// The state of the step before; null at the first step.
    pub state: &'a Value,
    /// What the step before led to; none at the first step.
    pub reply: Option<&'a Reply>,
}

impl<'a> Turn<'a> {
    /// The state of the step before.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it is not what this plugin gives as state.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        T::deserialize(self.state).map_err(|error| {
            ProviderError::new(
                ErrorKind::Internal,
                format!("the step's state is not understood: {error}"),
            )
        })
    }

    /// A setting of the account that the manifest declares as a string.
    pub fn setting(&self, name: &str) -> Option<&'a str> {
        self.context.settings.get(name).and_then(Value::as_str)
    }

    /// The text at this JSON pointer (RFC 6901) of the session's public part.
    pub fn session(&self, pointer: &str) -> Option<&'a str> {
        self.context.session.pointer(pointer).and_then(Value::as_str)
    }

    /// The account's or key's region.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when none is set.
    pub fn region(&self) -> Result<&'a str, ProviderError> {
        self.context.region.as_deref().ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Invalid,
                "no region is set: add `region` to the account or the key",
            )
        })
    }

    /// Whether the account's credentials have this field.
    pub fn has_credential(&self, field: &str) -> bool {
        self.context.credential_fields.iter().any(|name| name == field)
    }

    /// Where requests go: the account's endpoint, else `https://` and this host of the vendor.
    pub fn origin(&self, host: &str) -> String {
        match &self.context.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{host}"),
        }
    }
}

/// Calls the method of the operation that is asked for.
pub(crate) fn dispatch<P: Provider + ?Sized>(provider: &P, request: &StepRequest) -> Answer {
    let turn = &Turn {
        context: &request.context,
        state: &request.state,
        reply: request.reply.as_ref(),
    };
    match &request.operation {
        Operation::Create(create) => provider.create(create, turn),
        Operation::Import(import) => provider.import(import, turn),
        Operation::List(list) => provider.list(list, turn),
        Operation::Get(pair) => provider.get(pair, turn),
        Operation::Delete(delete) => provider.delete(delete, turn),
        Operation::Attach(attachment) => provider.attach(attachment, turn),
        Operation::Detach(attachment) => provider.detach(attachment, turn),
        Operation::ListInstances(pair) => provider.list_instances(pair, turn),
        Operation::RunCommand(command) => provider.run_command(command, turn),
        Operation::Credentials(credentials) => provider.credentials(credentials, turn),
        Operation::Profiles(_) => provider.profiles(turn),
    }
}

fn unsupported(operation: OperationKind) -> ProviderError {
    ProviderError::new(
        ErrorKind::Unsupported,
        format!("this plugin has no operation {operation}"),
    )
}
