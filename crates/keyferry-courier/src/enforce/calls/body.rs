//! The body of a request, as its call says that it is read.

use std::collections::BTreeMap;

use keyferry_plugin::manifest::{self, Call};
use zeroize::Zeroizing;

use super::{EvaluatedRequest, Parameter, Subject};
use crate::enforce::cleaning;
use crate::json::{self, Leaf, Strictness, Token};

/// A value of a JSON body that is no object or list.
pub(crate) struct Value {
    /// The way to it.
    pub(crate) path: Vec<Token>,
    /// A string without quotes and escapes, or the text of anything else.
    pub(crate) text: Zeroizing<Vec<u8>>,
}

/// What a body holds.
pub(super) enum Body {
    None,
    /// The parameters.
    Form(Vec<Parameter>),
    /// Every value that is no object or list, with the way to it.
    Json(Vec<Value>),
}

impl Body {
    /// Reads the body as the call says; the error says what it is instead.
    pub(super) fn of(call: &Call, request: &EvaluatedRequest) -> Result<Self, String> {
        let content_type = request
            .headers
            .iter()
            .find_map(|(name, value)| (name == CONTENT_TYPE).then_some(value));
        let is_said_to_be = |fits: fn(&str) -> bool| match content_type {
            Some(value) => std::str::from_utf8(value).is_ok_and(|text| {
                let kind = text.split(';').next().unwrap_or_default().trim();
                fits(&kind.to_ascii_lowercase())
            }),
            None => true,
        };
        match &call.body {
            manifest::Body::None if request.body.is_empty() => Ok(Self::None),
            manifest::Body::None => Err("it has a body, and the call has none".to_owned()),
            _ if request.body.is_empty() => Err("it has no body".to_owned()),
            manifest::Body::Form => {
                if !request.query.is_empty() {
                    return Err("it has a query besides the form in its body".to_owned());
                }
                if !is_said_to_be(|kind| kind == FORM) {
                    return Err(format!("its {CONTENT_TYPE} is not {FORM}"));
                }
                let parameters =
                    form(&request.body).ok_or("its body is not a form whose values are percent-encoded")?;
                super::check_unique(&parameters)?;
                Ok(Self::Form(parameters))
            }
            manifest::Body::Json(_) => {
                if !is_said_to_be(|kind| kind == JSON || kind.ends_with("+json")) {
                    return Err(format!("its {CONTENT_TYPE} is not {JSON}"));
                }
                values(&request.body).map(Self::Json).ok_or_else(|| {
                    "its body is not a JSON object in which every name is there once".to_owned()
                })
            }
        }
    }

    /// The parameters, where the body holds them.
    pub(super) fn parameters(&self) -> Option<&[Parameter]> {
        match self {
            Self::Form(parameters) => Some(parameters),
            Self::None | Self::Json(_) => None,
        }
    }

    /// Whether there is a value at this JSON pointer; `*` stands for any index.
    pub(super) fn has(&self, pointer: &str) -> bool {
        let Self::Json(values) = self else { return false };
        json::tokens(pointer)
            .is_some_and(|tokens| values.iter().any(|value| json::is_at(&value.path, &tokens)))
    }

    /// Checks that every value stands where the call lists it, with the value that it allows; else how far it got.
    pub(super) fn check_values(&self, call: &Call, subject: &Subject) -> Result<(), (usize, String)> {
        let Self::Json(values) = self else { return Ok(()) };
        let listed: Vec<(Vec<String>, &String)> = templates(call)
            .iter()
            .filter_map(|(pointer, template)| Some((json::tokens(pointer)?, template)))
            .collect();
        for (index, Value { path, text }) in values.iter().enumerate() {
            let mut at_path = listed
                .iter()
                .filter(|(tokens, _)| json::is_at(path, tokens))
                .peekable();
            if at_path.peek().is_none() {
                let message = format!("the body's field `{}` is not listed", shown(path));
                return Err((index, message));
            }
            if !at_path.any(|(_, template)| subject.fits(template, text)) {
                let message = format!(
                    "the body's field `{}` has another value than the call allows",
                    shown(path)
                );
                return Err((index, message));
            }
        }
        Ok(())
    }
}

/// The pointers of a JSON body with their templates; of any other body none.
pub(super) fn templates(call: &Call) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    match &call.body {
        manifest::Body::Json(values) => values,
        manifest::Body::None | manifest::Body::Form => &NONE,
    }
}

/// The content type of a call's body that the courier adds where the plugin names none.
pub(crate) fn content_type(call: &Call) -> Option<&'static str> {
    match &call.body {
        manifest::Body::None => None,
        manifest::Body::Form => Some(FORM),
        manifest::Body::Json(_) => Some(JSON),
    }
}

/// Names and values of a form (`application/x-www-form-urlencoded`), in order; none where a character that means something
/// stands there unescaped, so that nobody reads it in another way.
pub(crate) fn form(body: &[u8]) -> Option<Vec<Parameter>> {
    let pair = |pair: &[u8]| {
        let equals = pair.iter().position(|&b| b == b'=')?;
        let name = unescaped(&pair[..equals]).filter(|name| !name.is_empty())?;
        let name = std::str::from_utf8(&name).ok()?.to_owned();
        Some((name, unescaped(&pair[equals + 1..])?))
    };
    body.split(|&b| b == b'&').map(pair).collect()
}

fn unescaped(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
                let byte = digit(0)? * 16 + digit(1)?;
                rest = &after[2..];
                u8::try_from(byte).ok()?
            }
            b'-' | b'_' | b'.' | b'~' | b'*' => byte,
            byte if byte.is_ascii_alphanumeric() => byte,
            _ => return None,
        });
    }
    Some(out)
}

/// The values of a JSON object with the way to them; none where it is not one that everybody reads alike.
pub(crate) fn values(body: &[u8]) -> Option<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    json::walk(body, Strictness::Strict, &mut |path, leaf| {
        let text = match leaf {
            // It was looked at.
            Leaf::String(content) => json::unescape(&body[content]).unwrap_or_default(),
            Leaf::Word(word) => Zeroizing::new(body[word].to_vec()),
            Leaf::Empty => Zeroizing::new(b"{}".to_vec()),
        };
        found.push(Value {
            path: path.to_vec(),
            text,
        });
    })?;
    let is_object = body.trim_ascii_start().starts_with(b"{");
    // `{}` alone has no field that could be listed.
    (is_object && found.iter().all(|value| !value.path.is_empty())).then_some(found)
}

fn shown(path: &[Token]) -> String {
    let token = |token: &Token| match token {
        Token::Index(index) => index.to_string(),
        Token::Key(key) => String::from_utf8_lossy(key).into_owned(),
    };
    let pointer: String = path.iter().map(|part| format!("/{}", token(part))).collect();
    cleaning::clean(&pointer, 100)
}

pub(crate) const CONTENT_TYPE: &str = "content-type";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
