//! The list of what can be asked for.

use keyferry_plugin::contract::OperationKind;

/// Defines [`Behaviour`] with its names, so that each one stands in one place.
macro_rules! behaviours {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $rule:expr, $operation:expr;)+) => {
        /// One way to misbehave: the account's setting `behaviour`.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Behaviour {
            $($(#[$doc])+ $variant,)+
        }

        impl Behaviour {
            /// All of them, [`Behaviour::None`] first.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The setting's value.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Which rule it breaks.
            pub fn rule(self) -> Rule {
                match self {
                    $(Self::$variant => $rule,)+
                }
            }

            /// The operation in which it shows; none: in all of them. Other operations go well.
            pub fn operation(self) -> Option<OperationKind> {
                match self {
                    $(Self::$variant => $operation,)+
                }
            }
        }
    };
}

/// Which rule a behaviour breaks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// None: the answer is allowed.
    Allowed,
    /// The plugin answers one step for each request. The sandbox notices.
    Answer,
    /// A secret stands only where its class allows it.
    SecretPlace,
    /// Requests go to the manifest's hosts or the account's endpoint.
    Host,
    /// A request is a call of the operation in progress.
    Call,
    /// `create` alone captures a private key, and no recipe uses it.
    PrivateKey,
    /// What is derived from a secret is blanked in replies and errors.
    Echo,
    /// `delete` deletes the one pair that it was permitted.
    Permit,
    /// Text of a provider is not reused.
    Text,
    /// An operation ends with its own outcome, or with the effect that it had.
    Outcome,
    /// Steps, bytes, captures, depth and time are bounded.
    Cap,
    /// Steps and expressions that this version refuses, and sources that the manifest does not list.
    Reserved,
}

use OperationKind::{Attach, Create, Credentials, Delete, Detach, Get, Import, List, ListInstances};
use Rule::{
    Allowed, Answer, Call, Cap, Echo, Host, Outcome, Permit, PrivateKey, Reserved, SecretPlace, Text,
};

behaviours! {
    /// Behaves.
    None = "none", Allowed, Option::None;
    /// Writes to standard output and standard error, then behaves.
    Print = "print", Allowed, Option::None;
    /// The bearer in its own header, with text before it.
    BearerWithText = "bearer_with_text", Allowed, Some(List);
    /// The private key in a reply of XML, with references for its line ends.
    PrivateKeyFromXml = "private_key_from_xml", Allowed, Some(Create);
    /// The private key in a header of the reply.
    PrivateKeyFromHeader = "private_key_from_header", Allowed, Some(Create);
    /// Tries to write the file of the setting `path`, and fails with what came of it.
    WriteFile = "write_file", Allowed, Option::None;
    /// Panics; the plugin kit makes it an error of kind `internal`.
    Panic = "panic", Allowed, Option::None;

    /// Ends by SIGABRT.
    Abort = "abort", Answer, Option::None;
    /// Allocates without end.
    Allocate = "allocate", Answer, Option::None;
    /// Answers nothing.
    Empty = "empty", Answer, Option::None;
    /// Ends the process with status 0.
    Exit = "exit", Answer, Option::None;
    /// Answers bytes that are not JSON.
    Garbage = "garbage", Answer, Option::None;
    /// Answers more bytes than are read.
    Long = "long", Answer, Option::None;
    /// Computes without end.
    Loop = "loop", Answer, Option::None;
    /// Answers JSON that is nested too deeply.
    Nested = "nested", Answer, Option::None;
    /// Calls itself without end.
    Recurse = "recurse", Answer, Option::None;
    /// Writes to address 0.
    Segfault = "segfault", Answer, Option::None;
    /// Sleeps for an hour.
    Sleep = "sleep", Answer, Option::None;
    /// Answers a step with a field that the contract does not have.
    UnknownField = "unknown_field", Answer, Option::None;
    /// Answers a step that the contract does not have.
    UnknownStep = "unknown_step", Answer, Option::None;
    /// Answers a step with a text for a number.
    WrongTypes = "wrong_types", Answer, Option::None;

    /// The HMAC key as it is, in a header.
    HmacKeyInText = "hmac_key_in_text", SecretPlace, Some(List);
    /// The HMAC key in the body.
    HmacKeyInBody = "hmac_key_in_body", SecretPlace, Some(List);
    /// The HMAC key through a digest.
    HmacKeyHashed = "hmac_key_hashed", SecretPlace, Some(List);
    /// The HMAC key as data of an HMAC whose key is known.
    HmacKeyAsData = "hmac_key_as_data", SecretPlace, Some(List);
    /// The HMAC key beside something that is no literal text.
    HmacKeyWithExpression = "hmac_key_with_expression", SecretPlace, Some(List);
    /// The HMAC key encoded within an HMAC's key.
    HmacKeyEncoded = "hmac_key_encoded", SecretPlace, Some(List);
    /// The bearer in a header that is not its own.
    BearerInHeader = "bearer_in_header", SecretPlace, Some(List);
    /// The bearer in the query.
    BearerInQuery = "bearer_in_query", SecretPlace, Some(List);
    /// The bearer percent-encoded in the query.
    BearerInPercent = "bearer_in_percent", SecretPlace, Some(List);
    /// The bearer as hexadecimal in a header that is not its own.
    BearerInHex = "bearer_in_hex", SecretPlace, Some(List);
    /// The bearer in the body.
    BearerInBody = "bearer_in_body", SecretPlace, Some(List);
    /// The bearer as data of an HMAC whose key is known.
    BearerUnderKnownKey = "bearer_under_known_key", SecretPlace, Some(List);
    /// The bearer as the key of an HMAC.
    BearerAsKey = "bearer_as_key", SecretPlace, Some(List);
    /// The HMAC key as the bearer, by its handle.
    HmacKeyAsBearer = "hmac_key_as_bearer", SecretPlace, Some(Credentials);
    /// A credential field that the manifest does not have.
    UnknownSecret = "unknown_secret", SecretPlace, Some(List);

    /// Another host.
    HostForeign = "host_foreign", Host, Some(List);
    /// The manifest's host as the beginning of another one.
    HostSuffix = "host_suffix", Host, Some(List);
    /// Two labels where the manifest's host has a place for one.
    HostTwoLabels = "host_two_labels", Host, Some(List);
    /// Another region than the account's.
    HostOtherRegion = "host_other_region", Host, Some(List);
    /// The endpoint's host on another port.
    HostOtherPort = "host_other_port", Host, Some(List);
    /// Another loopback address than the endpoint's.
    HostOtherLoopback = "host_other_loopback", Host, Some(List);
    /// The manifest's host without TLS.
    HostPlainHttp = "host_plain_http", Host, Some(List);
    /// The manifest's host as user name before another one.
    HostUserinfo = "host_userinfo", Host, Some(List);
    /// The endpoint as user name before another host.
    HostEndpointUserinfo = "host_endpoint_userinfo", Host, Some(List);
    /// The metadata service of AWS and others.
    HostMetadata = "host_metadata", Host, Some(List);
    /// The metadata service of Alibaba Cloud, from `credentials`.
    HostMetadataCredentials = "host_metadata_credentials", Host, Some(Credentials);
    /// Loopback by its name.
    HostLoopbackName = "host_loopback_name", Host, Some(List);
    /// An origin with a path, a query and a fragment.
    HostWithPath = "host_with_path", Host, Some(List);

    /// In `list`, the call that deletes by path.
    CallOfDelete = "call_of_delete", Call, Some(List);
    /// In `list`, the header that names another operation's call.
    CallOfCreate = "call_of_create", Call, Some(List);
    /// A parameter that the call does not have.
    ExtraParameter = "extra_parameter", Call, Some(List);
    /// A parameter twice.
    DuplicateParameter = "duplicate_parameter", Call, Some(Get);
    /// A required parameter left out.
    MissingParameter = "missing_parameter", Call, Some(Get);
    /// A parameter for another pair.
    OtherParameter = "other_parameter", Call, Some(Get);
    /// The call's name as a parameter, as older APIs take it.
    ActionInQuery = "action_in_query", Call, Some(List);
    /// A query in the path.
    QueryInPath = "query_in_path", Call, Some(List);
    /// Another path.
    OtherPath = "other_path", Call, Some(List);
    /// Another method.
    OtherMethod = "other_method", Call, Some(List);
    /// The header that names the call, twice.
    DuplicateHeader = "duplicate_header", Call, Some(List);
    /// The header that names the call, left out.
    MissingHeader = "missing_header", Call, Some(List);
    /// A header that the manifest does not list.
    ForeignHeader = "foreign_header", Call, Some(List);
    /// A `host` header.
    HostHeader = "host_header", Call, Some(List);
    /// A line break in a header's value, and another header after it.
    HeaderBreak = "header_break", Call, Some(List);
    /// A secret's value decides what the call is.
    ActionFromCredential = "action_from_credential", Call, Some(List);

    /// Ends a `get` with the pair that it was asked about, and asks nobody.
    GetUnasked = "get_unasked", Call, Some(Get);
    /// Ends a `delete`, and asks nobody for it.
    DeleteUnasked = "delete_unasked", Call, Some(Delete);
    /// Emits a pair in `get`.
    EmitInGet = "emit_in_get", Call, Some(Get);

    /// A body where the call has none.
    BodyUnlisted = "body_unlisted", Call, Some(List);
    /// A field of a JSON body that the call does not list.
    JsonExtraField = "json_extra_field", Call, Some(Attach);
    /// An empty object in a JSON body where the call lists nothing.
    JsonEmptyObject = "json_empty_object", Call, Some(Attach);
    /// A field of a JSON body twice, the second time for another pair.
    JsonDuplicateKey = "json_duplicate_key", Call, Some(Attach);
    /// A JSON body for another pair.
    JsonOtherPair = "json_other_pair", Call, Some(Attach);
    /// A JSON body for another instance besides.
    JsonOtherInstance = "json_other_instance", Call, Some(Attach);
    /// A JSON body that names no pair.
    JsonUnnamed = "json_unnamed", Call, Some(Attach);
    /// A field of a JSON body with another value than the call allows.
    JsonOtherValue = "json_other_value", Call, Some(Attach);
    /// A form where the call has a JSON body.
    JsonAsForm = "json_as_form", Call, Some(Attach);
    /// A form for another pair.
    FormOtherPair = "form_other_pair", Call, Some(Detach);
    /// A form for another instance besides.
    FormOtherInstance = "form_other_instance", Call, Some(Detach);
    /// A parameter of a form twice, once with its name escaped.
    FormDuplicate = "form_duplicate", Call, Some(Detach);
    /// Two parameters of a form as one, for those who read `;` as `&`.
    FormSemicolon = "form_semicolon", Call, Some(Detach);
    /// A form, and a query that says something else.
    FormAndQuery = "form_and_query", Call, Some(Detach);
    /// Two segments of a path in place of one.
    PathTwoSegments = "path_two_segments", Call, Some(ListInstances);
    /// A path below what no URL has.
    PathOtherBase = "path_other_base", Call, Some(ListInstances);

    /// The password as a name in a JSON body.
    BodyPasswordAsKey = "body_password_as_key", SecretPlace, Some(Credentials);
    /// The password in its place, with text before it.
    BodyPasswordWithText = "body_password_with_text", SecretPlace, Some(Credentials);
    /// The password in its place, not as a JSON string.
    BodyPasswordBare = "body_password_bare", SecretPlace, Some(Credentials);
    /// The password in its place, percent-encoded in JSON.
    BodyPasswordPercent = "body_password_percent", SecretPlace, Some(Credentials);
    /// The password in its place, and its digest in another.
    BodyPasswordHashed = "body_password_hashed", SecretPlace, Some(Credentials);
    /// The password in its place, and in another.
    BodyPasswordInOther = "body_password_in_other", SecretPlace, Some(Credentials);
    /// The password in its place of a form, and in another.
    BodyPasswordInForm = "body_password_in_form", SecretPlace, Some(Credentials);
    /// The password in a header.
    BodyPasswordInHeader = "body_password_in_header", SecretPlace, Some(Credentials);

    /// A metadata address over TLS.
    MetadataOverTls = "metadata_over_tls", Host, Some(Credentials);
    /// A metadata address at another port.
    MetadataOtherPort = "metadata_other_port", Host, Some(Credentials);
    /// A login at a host that no answer named.
    CatalogueOfNobody = "catalogue_of_nobody", Host, Some(Credentials);

    /// A capture of a private key in a login.
    CaptureKeyInLogin = "capture_key_in_login", PrivateKey, Some(Credentials);
    /// A capture of a public field in a login.
    CapturePublicField = "capture_public_field", PrivateKey, Some(Credentials);
    /// A capture of what is no field in a login.
    CaptureUnknownField = "capture_unknown_field", PrivateKey, Some(Credentials);
    /// A capture of the bearer in `list`.
    CaptureTokenInList = "capture_token_in_list", PrivateKey, Some(List);
    /// A capture of the bearer in `attach`.
    CaptureTokenInAttach = "capture_token_in_attach", PrivateKey, Some(Attach);
    /// `create` whose reply in XML has the private key elsewhere.
    PrivateKeyElsewhereInXml = "private_key_elsewhere_in_xml", PrivateKey, Some(Create);
    /// `create` whose private key is in a header, with a capture elsewhere.
    PrivateKeyLeftInHeader = "private_key_left_in_header", PrivateKey, Some(Create);
    /// A capture of the private key in `list`.
    CaptureInList = "capture_in_list", PrivateKey, Some(List);
    /// A capture of the private key in `import`.
    CaptureInImport = "capture_in_import", PrivateKey, Some(Import);
    /// After `create`, a second request with the private key in a header.
    PrivateKeyInRecipe = "private_key_in_recipe", PrivateKey, Some(Create);
    /// After `create`, a second request with a digest of the private key.
    PrivateKeyHashed = "private_key_hashed", PrivateKey, Some(Create);
    /// `create` without the capture, and the reply's body as error message.
    PrivateKeyUncaptured = "private_key_uncaptured", PrivateKey, Some(Create);
    /// `create` with a capture at the wrong place, and the reply's body as error message.
    PrivateKeyElsewhere = "private_key_elsewhere", PrivateKey, Some(Create);
    /// `create` with a capture from a header that does not come, and the reply's body as error message.
    PrivateKeyInNoHeader = "private_key_in_no_header", PrivateKey, Some(Create);
    /// A capture of the reply under a name that is neither the private key's nor a credential's.
    CaptureUnknown = "capture_unknown", PrivateKey, Some(Create);

    /// Asks the server to repeat the request's headers, and fails with the reply's body as message. The headers hold the
    /// bearer, in its own place, and the signature.
    EchoSecrets = "echo_secrets", Echo, Some(List);
    /// Captures the bearer from XML in a login, and fails with the reply's body as message, which repeats it.
    EchoCapturedXml = "echo_captured_xml", Echo, Some(Credentials);
    /// Logs in without a capture, and fails with the reply's body and headers as message.
    EchoUncaptured = "echo_uncaptured", Echo, Some(Credentials);
    /// The same where the reply is XML.
    EchoUncapturedXml = "echo_uncaptured_xml", Echo, Some(Credentials);
    /// Like `echo_secrets`, with the reply's body as a pair's name.
    EchoInPair = "echo_in_pair", Echo, Some(List);

    /// Deletes another name.
    DeleteOtherName = "delete_other_name", Permit, Some(Delete);
    /// Deletes the permitted name and another one.
    DeleteTwoNames = "delete_two_names", Permit, Some(Delete);
    /// Deletes by the manifest's other call, with another id.
    DeleteOtherId = "delete_other_id", Permit, Some(Delete);
    /// Deletes by the manifest's other call, with the name where the id belongs.
    DeleteNameAsId = "delete_name_as_id", Permit, Some(Delete);
    /// Deletes by the manifest's other call, with an id that leads out of its path segment.
    DeletePathEscape = "delete_path_escape", Permit, Some(Delete);
    /// Deletes the permitted pair, then another one.
    DeleteSecond = "delete_second", Permit, Some(Delete);

    /// A public key whose comment is a second line with a command.
    CommentInKey = "comment_in_key", Text, Some(Get);
    /// A name and a message with control characters for a terminal.
    ControlCharacters = "control_characters", Text, Some(Get);

    /// Never comes to an end: the same request again and again.
    EndlessSteps = "endless_steps", Cap, Some(List);
    /// Never comes to an end: short waits again and again.
    EndlessWaits = "endless_waits", Cap, Some(List);
    /// Waits for a year.
    LongWait = "long_wait", Cap, Some(List);
    /// An expression of many levels.
    DeepRecipe = "deep_recipe", Cap, Some(List);
    /// An expression that doubles its length at every level.
    LargeOutput = "large_output", Cap, Some(List);
    /// A thousand captures.
    ManyCaptures = "many_captures", Cap, Some(Create);
    /// A hundred thousand headers.
    ManyHeaders = "many_headers", Cap, Some(List);
    /// Emits pairs with every request, more than a list has in the second.
    EmitTooMany = "emit_too_many", Cap, Some(List);
    /// A million bytes of state.
    LargeState = "large_state", Cap, Some(List);

    /// Reads a source that the manifest does not list.
    ReadUnlisted = "read_unlisted", Reserved, Some(Credentials);
    /// Reads a source outside of `credentials`.
    ReadInList = "read_in_list", Reserved, Some(List);
    /// Runs a command that no field holds.
    Run = "run", Reserved, Some(Credentials);
    /// Keeps a session.
    Session = "session", Reserved, Some(List);
    /// An HMAC-SHA-512.
    HmacSha512 = "hmac_sha512", Reserved, Some(List);
    /// Credentials with a handle that was never given.
    ForeignHandle = "foreign_handle", Reserved, Some(Credentials);

    /// Logs in with the password, and keeps token, project and URLs.
    Login = "login", Allowed, Some(Credentials);
    /// Asks the instance's metadata service.
    Metadata = "metadata", Allowed, Some(Credentials);
    /// Tells the profiles of a file.
    Profiles = "profiles", Allowed, Some(OperationKind::Profiles);
    /// Logs in, and keeps the whole reply in the public part of the session.
    LoginBodyInPublic = "login_body_in_public", Echo, Some(Credentials);
    /// Logs in, and gives the reply as a public field.
    LoginTokenAsId = "login_token_as_id", Echo, Some(Credentials);
    /// The password as the user's name.
    LoginPasswordAsUser = "login_password_as_user", SecretPlace, Some(Credentials);
    /// The HMAC key, by its handle, in the password's place.
    LoginKeyAsPassword = "login_key_as_password", SecretPlace, Some(Credentials);
    /// A handle that was never given, in a request.
    LoginUnknownHandle = "login_unknown_handle", SecretPlace, Some(Credentials);
    /// Logs in, and wants to keep what it did not capture.
    LoginKeepPassword = "login_keep_password", SecretPlace, Some(Credentials);
    /// Keeps a field that was neither given nor captured.
    LoginKeepNothing = "login_keep_nothing", SecretPlace, Some(Credentials);
    /// Logs in, and tells of a URL that nobody named.
    LoginUrlNeverNamed = "login_url_never_named", Host, Some(Credentials);
    /// Logs in, and wants to send to a link-local address that the reply named.
    LoginUrlLinkLocal = "login_url_link_local", Host, Some(Credentials);
    /// Logs in, and wants to send without TLS to a host that the reply named.
    LoginUrlPlainHttp = "login_url_plain_http", Host, Some(Credentials);
    /// Runs a command of a file that was not read.
    LoginRunUnread = "login_run_unread", Call, Some(Credentials);
    /// Reads what only a command prints.
    LoginReadPrinted = "login_read_printed", Call, Some(Credentials);
    /// Sends a request to tell of profiles.
    ProfilesSend = "profiles_send", Call, Some(OperationKind::Profiles);
    /// Waits again and again.
    LoginEndlessWaits = "login_endless_waits", Cap, Some(Credentials);
    /// Waits for a year.
    LoginLongWait = "login_long_wait", Cap, Some(Credentials);
    /// Logs in again and again.
    LoginEndlessRequests = "login_endless_requests", Cap, Some(Credentials);
    /// Logs in, and keeps a large session.
    LoginLargePublic = "login_large_public", Cap, Some(Credentials);
    /// Reads a source though the account gave its credentials.
    LoginReadAnyway = "login_read_anyway", Allowed, Some(Credentials);

    /// Answers for an instance that it was not asked to bind.
    AttachedOther = "attached_other", Outcome, Some(Attach);
    /// Ends a `get` with the pair that it was asked about, whatever came of the request.
    GetUnanswered = "get_unanswered", Outcome, Some(Get);
    /// Another operation's outcome.
    OtherOutcome = "other_outcome", Outcome, Some(List);
    /// After a create that went well, an error that claims no effect.
    DenyCreate = "deny_create", Outcome, Some(Create);
    /// After an import that went well, an error that claims no effect.
    DenyImport = "deny_import", Outcome, Some(Import);
    /// After a delete that went well, an error that claims no effect.
    DenyDelete = "deny_delete", Outcome, Some(Delete);
}

impl Behaviour {
    /// The behaviour of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|behaviour| behaviour.name() == name)
    }
}
