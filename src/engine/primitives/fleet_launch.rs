//! Launches of several instance types, or in several subnets, through EC2 Fleet.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;

use super::launches::settle;
use super::network::late_or;
use super::teardown;
use crate::clients::ec2::{
    Ec2, Filled, Fleet, FleetAnswer, Instance, Launch, NewTemplate, Place, Shortfall,
};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, ResourceKind, State, Step};
use crate::report::text;

/// How many types and zones a warning names.
const NAMED: usize = 8;

/// How many instances are terminated at the same time.
const AT_ONCE: usize = 16;

/// The rows of a launch, which exist before its request.
pub(super) struct Recorded {
    pub(super) names: Vec<String>,
    /// One for each name.
    pub(super) intents: Vec<Intent>,
    /// As many for each name: the volumes that outlive the instances.
    pub(super) kept: Vec<Intent>,
}

impl Recorded {
    /// Records the launched instances and gives them their names. Those of a launch
    /// that failed are not created, if the error proves that.
    pub(super) fn note(
        self,
        cx: &Context,
        launched: Result<Vec<Instance>>,
    ) -> Result<Vec<Instance>> {
        let mut launched = match launched {
            Ok(launched) => launched,
            Err(error) => {
                for intent in self.intents.into_iter().chain(self.kept) {
                    intent.abandoned(&error);
                }
                return Err(error);
            }
        };
        let rows = self.intents.into_iter().zip(&self.names);
        for ((intent, name), instance) in rows.zip(&mut launched) {
            intent.created(&instance.id);
            instance.name.clone_from(name);
            cx.report.info(format!(
                "launched {} ({}, {}), name {name}",
                instance.id, instance.instance_type, instance.image
            ));
        }
        Ok(launched)
    }

    /// Keeps the rows of the first `count` instances. The others were certainly not
    /// launched.
    fn only(mut self, count: usize) -> Self {
        let volumes = self.kept.len() / self.names.len().max(1);
        let others = self.intents.split_off(count.min(self.intents.len()));
        let without = self.kept.split_off((count * volumes).min(self.kept.len()));
        for intent in others.into_iter().chain(without) {
            intent.not_created();
        }
        self.names.truncate(count);
        self
    }
}

/// A launch of which EC2 chooses types and subnets.
pub(super) struct FleetLaunch<'a> {
    /// The tag `Name` of the launch template.
    pub(super) name: &'a str,
    pub(super) launch: &'a Launch,
    pub(super) types: &'a [String],
    /// The subnets; none are the default subnets.
    pub(super) subnets: &'a [String],
    /// With fewer instances, the launch fails.
    pub(super) at_least: usize,
}

impl FleetLaunch<'_> {
    /// Launches as many instances as EC2 has capacity for, unless an earlier attempt
    /// has. If they are too few, terminates them and those of earlier attempts.
    pub(super) async fn launch(
        &self,
        cx: &Context,
        step: &mut Step,
        recorded: Recorded,
        earlier: Vec<Instance>,
    ) -> Result<Vec<Instance>> {
        let ec2 = cx.clients.ec2().await?;
        let wanted = recorded.names.len();
        let filled = if earlier.is_empty() {
            self.fill(cx, step, &ec2).await
        } else {
            Ok(Filled {
                instances: earlier,
                shortfalls: Vec::new(),
            })
        };
        let Filled {
            instances,
            shortfalls,
        } = match filled {
            Ok(filled) => filled,
            Err(error) => {
                if error.proves_no_effect() {
                    delete_template(cx, step).await;
                }
                return recorded.note(cx, Err(error));
            }
        };
        let got = instances.len();
        let launched = recorded.only(got).note(cx, Ok(instances))?;
        // The instances are in the ledger. Without the template, the fleet could not
        // be asked again which they are.
        delete_template(cx, step).await;
        if got >= self.at_least {
            for warning in warnings(&shortfalls) {
                cx.report.warn(warning);
            }
            if got < wanted {
                cx.report
                    .warn(format!("launched {got} of {wanted} instances"));
            }
            return visible(cx, &ec2, launched).await;
        }
        let kept = release_all(cx, step).await;
        let causes = shortfalls.into_iter().map(|one| one.error).collect();
        let mut error = too_few((got, wanted, self.at_least), causes);
        error.causes.extend(kept);
        Err(error)
    }

    /// Sends the request.
    async fn fill(&self, cx: &Context, step: &mut Step, ec2: &Ec2<'_>) -> Result<Filled> {
        self.settle(cx, ec2).await?;
        let places = self.places(cx, ec2).await?;
        let template = self.template(cx, step, ec2).await?;
        // An attempt that finds the instances of the fleet must know what to delete.
        cx.ledger.commit()?;
        let fleet = Fleet {
            launch: self.launch,
            template: &template,
            types: self.types,
            places: &places,
        };
        let answer = ec2.create_fleet(&fleet).await?;
        let error = match answer {
            FleetAnswer::Filled(filled) => return Ok(filled),
            FleetAnswer::Before(error) => error,
        };
        // An earlier attempt launched with this token, but with other options. EC2
        // shows those instances soon.
        let what = "EC2 to show the instances of an earlier attempt".to_owned();
        let mut pace = cx.pace(what, cx.clients.consistency());
        loop {
            let launched = ec2.launched(&self.launch.token).await;
            let instances = launched.map_err(Error::after_another)?;
            if !instances.is_empty() {
                return Ok(Filled {
                    instances,
                    shortfalls: Vec::new(),
                });
            }
            let paused = pace.pause("already launched, not visible yet").await;
            paused.map_err(|late| late_or(late, error.clone()))?;
        }
    }

    /// Asks by dry runs whether EC2 knows what the launch names, and waits until it
    /// does. A fleet would fail, and then fail again for its token.
    ///
    /// Other errors do not end the launch: the fleet reports them for each type.
    async fn settle(&self, cx: &Context, ec2: &Ec2<'_>) -> Result<()> {
        let count = self.types.len().max(self.subnets.len());
        let one_of = |all: &[String], at: usize| all.get(at % all.len().max(1)).cloned();
        let launches = (0..count).map(|at| Launch {
            instance_type: one_of(self.types, at).unwrap_or_default(),
            subnet: one_of(self.subnets, at),
            count: 1,
            ..self.launch.clone()
        });
        let launches: Vec<Launch> = launches.collect();
        let asked = launches.iter().map(|launch| settle(cx, ec2, launch));
        for answer in join_all(asked).await {
            match answer {
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => cx.report.debug(error.to_string()),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Returns the subnets of the launch with their zones.
    async fn places(&self, cx: &Context, ec2: &Ec2<'_>) -> Result<Vec<Place>> {
        if self.subnets.is_empty() {
            let places = ec2.default_places().await?;
            if places.is_empty() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{} has no default subnet", ec2.region()),
                )
                .hint("create_default_vpc() creates them; or pass `subnets`"));
            }
            return Ok(places);
        }
        let mut pace = cx.pace(
            "EC2 to know the subnets".to_owned(),
            cx.clients.consistency(),
        );
        let fresh = |id: &String| cx.ledger.made(ResourceKind::Subnet, id);
        loop {
            match ec2.places(self.subnets).await {
                Err(error)
                    if error.kind == ErrorKind::NotFound && self.subnets.iter().any(fresh) =>
                {
                    let paused = pace.pause("not visible yet").await;
                    paused.map_err(|late| late_or(late, error))?;
                }
                answer => return answer,
            }
        }
    }

    /// Returns the id of the launch template of this step. Creates it, unless an
    /// earlier attempt has.
    async fn template(&self, cx: &Context, step: &mut Step, ec2: &Ec2<'_>) -> Result<String> {
        let kind = ResourceKind::LaunchTemplate;
        for row in step.live(kind) {
            let id = row.id.clone().unwrap_or_default();
            // An earlier attempt that began to delete it had the answer to its fleet.
            if row.state == State::Live && ec2.launch_template_marks(&id).await?.is_some() {
                return Ok(id);
            }
            teardown(cx).release(kind, &id).await?;
        }
        let key: String = step.key().chars().take(12).collect();
        let name = format!("autorun-{}-{key}", cx.ledger.run());
        let intent = step.intend_one(NewResource::new(kind, &name))?;
        if intent.is_retried()
            && let Some(id) = ec2.launch_template_of(intent.token()).await?
        {
            intent.created(&id);
            return Ok(id);
        }
        let tags = cx.tags(self.name, intent.token(), &BTreeMap::new());
        let created = ec2.create_launch_template(&name, self.launch, (intent.token(), &tags));
        let error = match created.await {
            Ok(NewTemplate::Created(id)) => {
                intent.created(&id);
                return Ok(id);
            }
            Ok(NewTemplate::Before(error)) | Err(error) => error,
        };
        intent.abandoned(&error);
        Err(error)
    }
}

/// Deletes the launch template of this step. If that fails, `destroy` deletes it.
pub(super) async fn delete_template(cx: &Context, step: &Step) {
    let teardown = teardown(cx);
    for row in step.live(ResourceKind::LaunchTemplate) {
        let id = row.id.unwrap_or_default();
        let released = teardown.release(ResourceKind::LaunchTemplate, &id);
        if let Err(error) = released.await {
            cx.report.warn(format!(
                "the launch template {id} stays until the run is destroyed: {error}"
            ));
        }
    }
}

/// Terminates all instances of this step. Returns the errors about those that remain.
async fn release_all(cx: &Context, step: &Step) -> Vec<Error> {
    let ids = step.live(ResourceKind::Instance).into_iter();
    let ids = ids.filter_map(|row| row.id);
    let released = ids.map(async |id| {
        let teardown = teardown(cx);
        teardown.release(ResourceKind::Instance, &id).await.err()
    });
    let released = stream::iter(released).buffer_unordered(AT_ONCE);
    let errors: Vec<Option<Error>> = released.collect().await;
    errors.into_iter().flatten().collect()
}

/// Returns a warning for each cause, with the types and zones that have it.
fn warnings(shortfalls: &[Shortfall]) -> Vec<String> {
    let mut causes: Vec<(&str, Vec<&Shortfall>)> = Vec::new();
    for one in shortfalls {
        match causes.iter_mut().find(|(code, _)| *code == one.code) {
            Some((_, all)) => all.push(one),
            None => causes.push((&one.code, vec![one])),
        }
    }
    let warning = |(code, all): (&str, Vec<&Shortfall>)| match all.as_slice() {
        [one] => one.error.to_string(),
        all => {
            let places = all.iter().map(|one| one.place.clone());
            let places = text::some_of(places, NAMED);
            format!("EC2 returned {code} for {places}")
        }
    };
    causes.into_iter().map(warning).collect()
}

/// Creates the error of a launch of which too few instances were launched.
fn too_few((got, wanted, at_least): (usize, usize, usize), causes: Vec<Error>) -> Error {
    let demand = if at_least == wanted {
        String::new()
    } else {
        format!(", and {at_least} are demanded")
    };
    let undone = match got {
        0 => String::new(),
        1 => "; it was terminated again".to_owned(),
        _ => "; they were terminated again".to_owned(),
    };
    let quota = |error: &&Error| error.kind == ErrorKind::QuotaExceeded;
    // A lack of capacity passes; what else is wrong with another type does not matter
    // until then.
    let first = causes.iter().find(quota).or(causes.first());
    let kind = first.map_or(ErrorKind::QuotaExceeded, |error| error.kind);
    let error = Error::new(
        kind,
        format!("EC2 launched {got} of {wanted} instances{demand}{undone}"),
    );
    let error =
        error.hint("pass more `types` or `subnets`, or a smaller `at_least`; or try again later");
    error.caused_by(causes)
}

/// Returns the instances as EC2 describes them. EC2 may show them only after a moment.
async fn visible(cx: &Context, ec2: &Ec2<'_>, launched: Vec<Instance>) -> Result<Vec<Instance>> {
    let ids: Vec<String> = launched
        .iter()
        .map(|instance| instance.id.clone())
        .collect();
    let mut pace = cx.pace(
        "EC2 to show the new instances".to_owned(),
        cx.clients.consistency() * 2,
    );
    loop {
        match ec2.instances(&ids).await {
            Ok(mut seen) => {
                for (one, known) in seen.iter_mut().zip(launched) {
                    one.name = known.name;
                }
                return Ok(seen);
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                let paused = pace.pause("not visible yet").await;
                paused.map_err(|late| late_or(late, error))?;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_one_warning() {
        let shortfall = |code: &str, place: &str| Shortfall {
            code: code.to_owned(),
            place: place.to_owned(),
            error: Error::new(
                ErrorKind::QuotaExceeded,
                format!("cannot launch {place}: {code}"),
            ),
        };
        let short = "InsufficientInstanceCapacity";
        assert_eq!(
            warnings(&[
                shortfall(short, "t3.micro in us-east-1a"),
                shortfall("Unsupported", "t9.huge in us-east-1a"),
                shortfall(short, "t3.micro in us-east-1b"),
            ]),
            [
                "EC2 returned InsufficientInstanceCapacity for t3.micro in us-east-1a, \
                 t3.micro in us-east-1b",
                "cannot launch t9.huge in us-east-1a: Unsupported",
            ]
        );
        assert_eq!(warnings(&[]), [""; 0]);
    }
}
