//! The connections of the HTTP server: their users, and the limits of each
//! user.
//!
//! All users of this machine connect from the same address, so the kernel is
//! queried for the user of each connection. Users with an access file and users
//! without one have separate places: a user without access cannot keep others
//! out, even with thousands of half-open requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::crowd::{Crowd, Limits, Place};
use super::ec2::Refusal;
use super::home::{self, Home};
use super::peer;

/// The maximum size, in bytes, of a form. Requests are small: user data takes
/// 22 KiB in base64.
const LONGEST_FORM: usize = 256 << 10;

/// The maximum size, in bytes, of all forms that are being read.
const FORMS_OF_HOLDERS: usize = 64 << 20;
const FORMS_OF_STRANGERS: usize = 16 << 20;

/// How long a form may take to arrive.
const FORM_WITHIN: Duration = Duration::from_secs(15);

const HOLDERS: Limits = Limits {
    all: 768,
    each: 512,
    settled: 768,
};
const STRANGERS: Limits = Limits {
    all: 384,
    each: 96,
    settled: 384,
};

/// The source of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    User(u32),
    /// A remote address, for example of an instance.
    Address(IpAddr),
}

/// All connected clients.
pub(crate) struct Visitors {
    home: Home,
    holders: Group,
    strangers: Group,
}

struct Group {
    crowd: Arc<Crowd<Source>>,
    forms: Semaphore,
    /// How long a connection may be idle, or take to send the header of a
    /// request.
    patience: Duration,
}

impl Group {
    fn new(limits: Limits, forms: usize, seconds: u64) -> Self {
        Self {
            crowd: Crowd::new(limits),
            forms: Semaphore::new(forms),
            patience: Duration::from_secs(seconds),
        }
    }
}

impl Visitors {
    pub(crate) fn new(home: Home) -> Self {
        Self {
            home,
            holders: Group::new(HOLDERS, FORMS_OF_HOLDERS, 60),
            strangers: Group::new(STRANGERS, FORMS_OF_STRANGERS, 15),
        }
    }

    /// Returns a place for a new connection.
    pub(crate) fn enter(&self, peer: SocketAddr, own: SocketAddr) -> Visitor<'_> {
        let user = peer::user_of(peer, own);
        let group = if user.is_some_and(|user| self.may_use(user)) {
            &self.holders
        } else {
            &self.strangers
        };
        let source = user.map_or(Source::Address(peer.ip()), Source::User);
        Visitor {
            place: group.crowd.enter(source),
            group,
        }
    }

    /// Closes one connection of a user without access, because descriptors are
    /// short.
    pub(crate) fn make_room(&self) {
        self.strangers.crowd.evict_one();
    }

    fn may_use(&self, user: u32) -> bool {
        user == home::user().0 || self.home.has_access(user)
    }
}

/// One connection.
pub(crate) struct Visitor<'a> {
    place: Place<Source>,
    group: &'a Group,
}

impl Visitor<'_> {
    /// Protects the connection from eviction: its request was signed or had the
    /// token.
    pub(crate) fn settle(&self) {
        self.place.settle();
    }

    /// Waits until the place is taken for another connection.
    pub(crate) async fn is_evicted(&self) {
        self.place.taken().await;
    }

    pub(crate) fn patience(&self) -> Duration {
        self.group.patience
    }

    /// Reads a whole form. Its signature covers the body, so it is verified
    /// only afterwards.
    pub(crate) async fn form(&self, body: Incoming) -> Result<Form<'_>, Refusal> {
        let read = self.read(body);
        let read = tokio::time::timeout_at(Instant::now() + FORM_WITHIN, read).await;
        read.unwrap_or_else(|_| {
            let message = "The request did not arrive in time";
            Err(Refusal::new("RequestTimeout", message).status(408))
        })
    }

    async fn read(&self, mut body: Incoming) -> Result<Form<'_>, Refusal> {
        let mut form = BytesMut::new();
        let mut room: Option<SemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::new(
                    "IncompleteBody",
                    "The request is shorter than its Content-Length",
                )
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if form.len() + piece.len() > LONGEST_FORM {
                let message = "The request is too long";
                return Err(Refusal::new("RequestEntityTooLarge", message).status(413));
            }
            let more = self.room(piece.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            form.extend_from_slice(&piece);
        }
        Ok(Form {
            bytes: form.freeze(),
            _room: room,
        })
    }

    fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.group.forms.try_acquire_many(bytes).map_err(|_| {
            let message = "Too many requests are being read.";
            Refusal::new("RequestLimitExceeded", message).status(503)
        })
    }
}

/// A form, and its share of the limit on bytes.
pub(crate) struct Form<'a> {
    pub(crate) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}
