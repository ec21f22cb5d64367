//! `autorun run`: checks all inputs, then runs the playbook.

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::args::{OnError, RunArgs};
use super::attempt::Attempt;
#[cfg(feature = "local-cloud")]
use super::local::CloudNeed;
use super::notify::post_of_ended_runs;
#[cfg(feature = "local-cloud")]
use super::plan::{self, Answer};
use super::prepared::{Inputs, Prepared, prepare};
use super::settings::store;
use super::shared::Sharing;
use super::target::CloudTarget;

pub(super) fn run(mut arguments: RunArgs) -> anyhow::Result<u8> {
    #[cfg(feature = "local-cloud")]
    let faults = arguments.faults.as_deref().map(super::faults::read_faults);
    #[cfg(feature = "local-cloud")]
    let faults = faults.transpose()?;
    let prepared = match prepare(&mut arguments)? {
        Inputs::Ready(prepared) => prepared,
        Inputs::Wrong(code) => return Ok(code),
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    #[cfg(feature = "local-cloud")]
    if arguments.plan
        && let Answer::Ends(code) = plan::ask(&runtime, &arguments, &prepared)?
    {
        return Ok(code);
    }
    let Prepared {
        playbook,
        settled,
        mut run,
        report,
        webhook,
    } = *prepared;
    let store = store(Some(&report))?;
    post_of_ended_runs(&store, |warning| report.warn(warning));
    let target = runtime.block_on(CloudTarget::from_arguments(
        &arguments.target,
        &run.id,
        #[cfg(feature = "local-cloud")]
        Some(&report),
        #[cfg(feature = "local-cloud")]
        if playbook.launches_instances() {
            CloudNeed::Instances
        } else {
            CloudNeed::Records
        },
    ))?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(faults)) = (&target.cloud, &faults) {
        runtime.block_on(cloud.set_faults(Some(&run.id), faults))?;
    }
    run.about.target = target.recorded.clone();
    #[cfg(feature = "local-cloud")]
    let rehearses_on = target.cloud.as_ref().map(|_| &target.aws);
    #[cfg(not(feature = "local-cloud"))]
    let rehearses_on = None;
    let sharing = Sharing::begin(
        &store,
        &run.playbook,
        &arguments.ledger,
        rehearses_on,
        &report,
    )?;
    let attempt = Attempt {
        playbook,
        settled,
        store,
        sharing,
        run,
        report,
        on_error: arguments.on_error.unwrap_or(OnError::Keep),
        resumed: false,
        again: arguments.again,
        webhook,
    };
    let ended = attempt.perform(&runtime, &target.aws)?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(_)) = (&target.cloud, &faults) {
        runtime.block_on(cloud.forget_faults(&ended.run));
    }
    // Requests that are still in flight are recorded: do not wait for them.
    runtime.shutdown_background();
    Ok(ended.code)
}
