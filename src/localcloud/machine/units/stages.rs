//! The units of cloud-init. Init runs cloud-init's stages itself, so its units have
//! no processes: they show how far the stages are.

use std::rc::Rc;

use tokio::sync::watch;

use super::state::Active;

/// A stage of cloud-init that runs after the network is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Stage {
    Init,
    Config,
    Final,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Waiting,
    Running,
    Done,
    Failed,
    /// Failed, and `reset-failed` has cleared that.
    Cleared,
}

impl Point {
    fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// What the state of a unit depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The stage before the network, whose work is done when the machine starts.
    Local,
    One(Stage),
    /// The process of versions since 24.3 that runs all stages.
    All,
    /// A target, which is reached after a stage.
    After(Stage),
}

const UNITS: [(&str, Shows); 8] = [
    ("cloud-config.service", Shows::One(Stage::Config)),
    ("cloud-config.target", Shows::After(Stage::Init)),
    ("cloud-final.service", Shows::One(Stage::Final)),
    ("cloud-init-local.service", Shows::Local),
    ("cloud-init-main.service", Shows::All),
    ("cloud-init-network.service", Shows::One(Stage::Init)),
    ("cloud-init.service", Shows::One(Stage::Init)),
    ("cloud-init.target", Shows::After(Stage::Final)),
];

/// Whether this is a unit of some version of cloud-init.
pub(super) fn is_unit(name: &str) -> bool {
    UNITS.iter().any(|(unit, _)| *unit == name)
}

/// Returns the names of the units of all versions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(unit, _)| *unit)
}

/// Whether versions before 24.3 have this unit. The stand-in is such a version.
pub(super) fn is_of_stand_in(name: &str) -> bool {
    is_unit(name) && !["cloud-init-main.service", "cloud-init-network.service"].contains(&name)
}

/// How far the stages of cloud-init are in this boot.
#[derive(Clone, Debug)]
pub(in super::super) struct Stages(Rc<watch::Sender<[Point; 3]>>);

impl Default for Stages {
    fn default() -> Self {
        Self(Rc::new(watch::channel([Point::Waiting; 3]).0))
    }
}

impl Stages {
    pub(in super::super) fn begin(&self, stage: Stage) {
        self.set(stage, Point::Running);
    }

    pub(in super::super) fn end(&self, stage: Stage, is_success: bool) {
        self.set(
            stage,
            if is_success {
                Point::Done
            } else {
                Point::Failed
            },
        );
    }

    /// Lets every stage fail that has not ended.
    pub(in super::super) fn give_up(&self) {
        self.0.send_modify(|points| {
            for point in points.iter_mut().filter(|point| point.is_open()) {
                *point = Point::Failed;
            }
        });
    }

    fn set(&self, stage: Stage, point: Point) {
        self.0.send_modify(|points| points[stage as usize] = point);
    }

    /// Clears the failure of a unit, as `reset-failed` does.
    pub(super) fn clear(&self, unit: &str) {
        if let Some(Shows::One(stage)) = shows(unit)
            && self.0.borrow()[stage as usize] == Point::Failed
        {
            self.set(stage, Point::Cleared);
        }
    }

    /// Whether a stage has not ended.
    pub(super) fn are_running(&self) -> bool {
        !have_ended(&self.0.borrow()[..])
    }

    /// Waits until all stages have ended.
    pub(super) async fn ended(&self) {
        // `self` holds the sender, so the channel cannot close.
        let _ = self
            .0
            .subscribe()
            .wait_for(|points| have_ended(points))
            .await;
    }

    /// Returns the active state and the sub state of a unit, if it is cloud-init's.
    pub(super) fn state(&self, unit: &str) -> Option<(Active, &'static str)> {
        let points = *self.0.borrow();
        Some(match shows(unit)? {
            Shows::Local => (Active::Running, "exited"),
            Shows::One(stage) => match points[stage as usize] {
                Point::Waiting | Point::Cleared => (Active::Inactive, "dead"),
                Point::Running => (Active::Activating, "start"),
                Point::Done => (Active::Running, "exited"),
                Point::Failed => (Active::Failed, "failed"),
            },
            Shows::All if !have_ended(&points) => (Active::Running, "running"),
            Shows::All if points.contains(&Point::Failed) => (Active::Failed, "failed"),
            Shows::After(stage) if have_ended(&points[..=stage as usize]) => {
                (Active::Running, "active")
            }
            Shows::All | Shows::After(_) => (Active::Inactive, "dead"),
        })
    }
}

fn shows(unit: &str) -> Option<Shows> {
    let found = UNITS.iter().find(|(name, _)| *name == unit);
    found.map(|(_, shows)| *shows)
}

fn have_ended(points: &[Point]) -> bool {
    !points.iter().any(|point| point.is_open())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(stages: &Stages) -> Vec<&'static str> {
        let shown = names().filter_map(|unit| stages.state(unit));
        shown.map(|(active, _)| active.as_str()).collect()
    }

    #[test]
    fn units_show_how_far_the_stages_are() {
        let stages = Stages::default();
        stages.begin(Stage::Init);
        let [off, on, start] = ["inactive", "active", "activating"];
        // config, config.target, final, local, main, network, init, init.target
        assert_eq!(states(&stages), [off, off, off, on, on, start, start, off]);
        stages.end(Stage::Init, true);
        stages.begin(Stage::Config);
        assert_eq!(states(&stages), [start, on, off, on, on, on, on, off]);
        stages.end(Stage::Config, true);
        stages.begin(Stage::Final);
        assert!(stages.are_running());
        stages.end(Stage::Final, false);
        assert!(!stages.are_running());
        assert_eq!(
            states(&stages),
            [on, on, "failed", on, "failed", on, on, on]
        );
        stages.clear("cloud-final.service");
        assert_eq!(states(&stages), [on, on, off, on, off, on, on, on]);
        assert_eq!(stages.state("ssh.service"), None);
    }
}
