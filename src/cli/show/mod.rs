//! `autorun show`: one run, its steps, what is up and what removes it; in words,
//! as JSON, as a page, as a picture.

use std::path::Path;

use anyhow::bail;

use super::settings::{shown, store};
use super::{Output, ShowArgs, answer, complain};
use crate::error::{Result, exit};
use crate::ledger::{Millis, Resource, Run, RunStatus, StepRow, Wait, now};
use crate::report::text;

mod calls;
mod file;
mod layout;
mod page;
mod template;
mod timeline;
mod words;

/// All that the ledger tells of a run.
struct Told {
    run: Run,
    status: RunStatus,
    resources: Vec<Resource>,
    steps: Vec<StepRow>,
    waits: Vec<Wait>,
    now: Millis,
}

impl Told {
    fn read(run: &str) -> anyhow::Result<Self> {
        let store = store(None)?;
        let all = || -> Result<Self> {
            let run = store.find(run)?;
            Ok(Self {
                status: store.status(&run)?,
                resources: store.resources(&run.id)?,
                steps: store.steps(&run.id)?,
                waits: store.waits(&run.id)?,
                now: now(),
                run,
            })
        };
        all().map_err(|e| shown(&e))
    }
}

pub(super) fn show(arguments: &ShowArgs) -> anyhow::Result<u8> {
    let files = [&arguments.html, &arguments.svg];
    if files.iter().all(|file| is_stdout(file.as_deref())) {
        bail!("--html and --svg cannot both go to stdout\nhint: give one of them a file");
    }
    if arguments.html.is_some() && arguments.html == arguments.svg {
        bail!("--html and --svg name the same file\nhint: give them two");
    }
    let told = Told::read(&arguments.run)?;
    if let Some(file) = &arguments.html {
        deliver(file, &page::page(&told).map_err(|e| shown(&e))?)?;
    }
    if let Some(file) = &arguments.svg {
        deliver(file, &timeline::alone(&told).map_err(|e| shown(&e))?)?;
    }
    if files.iter().all(|file| file.is_none()) {
        answer(&match arguments.output {
            Output::Human => words::in_words(&told),
            Output::Json => words::in_json(&told),
        });
    }
    Ok(exit::DONE)
}

fn is_stdout(file: Option<&Path>) -> bool {
    file == Some(Path::new("-"))
}

/// Writes a page or a picture to where it was asked for, and says so.
fn deliver(file: &Path, content: &str) -> anyhow::Result<()> {
    if is_stdout(Some(file)) {
        answer(content);
        return Ok(());
    }
    file::write(file, content).map_err(|e| shown(&e))?;
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let said = format!("wrote {} ({})", file.display(), text::bytes(size));
    complain(&text::wrap(&text::harmless(&said), 2));
    Ok(())
}
