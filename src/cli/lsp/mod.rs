//! `autorun lsp`: answers an editor in the Language Server Protocol, on standard input
//! and output.
//!
//! A thread of its own checks the documents, so that answers do not wait for it. The
//! messages are structs here: the protocol has hundreds of types, of which autorun needs
//! twenty.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lsp_server::Connection;

use crate::error::exit;
use session::{Flow, Session};

mod checker;
mod messages;
mod render;
mod session;
mod text;

pub(super) fn lsp() -> anyhow::Result<u8> {
    if std::io::stdin().is_terminal() {
        bail!("an editor starts this command\nhint: see `autorun docs editors`");
    }
    let (connection, threads) = Connection::stdio();
    let Connection { sender, receiver } = connection;
    let mut session = Session::new(Arc::new(move |message| {
        // The editor may have ended. Then the receiver ends as well.
        let _ = sender.send(message);
    }));
    for message in receiver {
        if session.handle(message) == Flow::Exit {
            break;
        }
    }
    let was_shut_down = session.was_shut_down();
    // The thread that writes ends with the last sender.
    session.end();
    threads
        .join()
        .context("cannot read the editor's messages")?;
    Ok(if was_shut_down {
        exit::DONE
    } else {
        exit::FAILED
    })
}
