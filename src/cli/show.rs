//! `autorun show`: shows a run as text, JSON, an HTML page or an SVG timeline.

use std::path::Path;

use anyhow::bail;

use super::args::{Output, ShowArgs};
use super::output::{answer, complain};
use super::output_file;
use super::settings::shown;
use super::shared::shared_store;
use crate::error::exit;
use crate::page;
use crate::report::text;

pub(super) fn show(arguments: &ShowArgs) -> anyhow::Result<u8> {
    let files = [&arguments.html, &arguments.svg];
    if files.iter().all(|file| is_stdout(file.as_deref())) {
        bail!("--html and --svg cannot both go to stdout\nhint: write one of them to a file");
    }
    if arguments.html.is_some() && arguments.html == arguments.svg {
        bail!("--html and --svg name the same file\nhint: use two files");
    }
    let store = shared_store(&arguments.ledger, &arguments.run, None)?;
    let record = store.record(&arguments.run).map_err(|e| shown(&e))?;
    if let Some(file) = &arguments.html {
        deliver(file, &page::html(&record).map_err(|e| shown(&e))?)?;
    }
    if let Some(file) = &arguments.svg {
        deliver(file, &page::timeline(&record).map_err(|e| shown(&e))?)?;
    }
    if files.iter().all(|file| file.is_none()) {
        answer(&match arguments.output {
            Output::Human => page::words(&record),
            Output::Json => page::json(&record),
        });
    }
    Ok(exit::DONE)
}

fn is_stdout(file: Option<&Path>) -> bool {
    file == Some(Path::new("-"))
}

/// Writes a page or image to a file or stdout. Reports the file that it wrote.
fn deliver(file: &Path, content: &str) -> anyhow::Result<()> {
    if is_stdout(Some(file)) {
        answer(content);
        return Ok(());
    }
    output_file::write(file, content).map_err(|e| shown(&e))?;
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let message = format!("wrote {} ({})", file.display(), text::bytes(size));
    complain(&text::wrap(&text::harmless(&message), 2));
    Ok(())
}
