//! The families of primitives in the order of the manual.
//!
//! The functions of a family are in the file of the family.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use rhai::Module;
use rhai::plugin::{FnManifestEntry, ModuleManifest, exported_manifest};

use super::{
    addresses, buckets, control, copies, data, fleet, fleet_exec, http, images, instances,
    key_pairs, local, logging, machine, monitoring, network, objects, remote, roles,
    security_groups, snapshots, spot, transfers, variables, volumes,
};
use crate::script::{self, Declared};

/// A group of primitives, in the order of the manual.
pub struct Family {
    /// Heading in the manual.
    pub title: &'static str,
    /// Where its functions act.
    pub realm: Realm,
    /// Whether its functions send requests to AWS.
    pub aws: bool,
    /// Its functions, only with the overloads in the source.
    functions: &'static ModuleManifest,
    /// The options and results of its functions.
    pub declared: &'static [Declared],
}

impl Family {
    /// Returns the module of its functions, including the calls without
    /// options. It has no documentation, which takes most of the time and memory.
    #[must_use]
    pub fn module(&self) -> Module {
        script::module(self.functions, self.declared)
    }

    /// Returns the same module with the documentation of each function that is
    /// `wanted`, and without the other functions.
    #[must_use]
    pub fn documented(&self, wanted: impl Fn(&str) -> bool) -> Module {
        script::documented_module(self.functions, self.declared, wanted)
    }

    /// Returns the names of its functions. A function with several overloads
    /// appears several times.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.functions.functions().iter().map(FnManifestEntry::name)
    }
}

/// Where the functions of a family act. It determines the colour of their calls in
/// `autorun show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// EC2.
    Ec2,
    /// S3.
    S3,
    /// Hosts, over ssh or HTTP.
    Hosts,
    /// This machine.
    Here,
    /// Only the playbook itself.
    Playbook,
}

impl Realm {
    /// Every realm, in the order of the legend.
    pub const ALL: [Self; 5] = [Self::Ec2, Self::S3, Self::Hosts, Self::Here, Self::Playbook];
}

/// Returns whether a function belongs to autorun.
#[must_use]
pub fn is_function(name: &str) -> bool {
    arities(name).is_some()
}

/// Returns the numbers of arguments that a function of autorun accepts.
#[must_use]
pub fn arities(name: &str) -> Option<&'static BTreeSet<usize>> {
    ARITIES.get(name)
}

/// Returns the names of all functions of autorun.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARITIES.keys().copied()
}

static ARITIES: LazyLock<BTreeMap<&str, BTreeSet<usize>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for family in &FAMILIES {
        for (name, arity) in script::arities(family.functions, family.declared) {
            all.entry(name).or_default().insert(arity);
        }
    }
    all
});

/// Returns the family of a function.
#[must_use]
pub fn family_of(name: &str) -> Option<&'static Family> {
    FAMILIES
        .iter()
        .find(|family| family.names().any(|own| own == name))
}

/// Returns the row with the options and the result of a function.
#[must_use]
pub fn declared(function: &str) -> Option<&'static Declared> {
    static ROWS: LazyLock<HashMap<&str, &Declared>> = LazyLock::new(|| {
        let rows = FAMILIES.iter().flat_map(|family| family.declared);
        rows.map(|row| (row.function, row)).collect()
    });
    ROWS.get(function).copied()
}

/// Every family.
pub static FAMILIES: [Family; 25] = [
    Family {
        title: "Variables",
        realm: Realm::Playbook,
        aws: false,
        functions: exported_manifest!(variables::api),
        declared: variables::DECLARED,
    },
    Family {
        title: "Images",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(images::api),
        declared: images::DECLARED,
    },
    Family {
        title: "Instances",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(instances::api),
        declared: instances::DECLARED,
    },
    Family {
        title: "Existing instances",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(fleet::api),
        declared: fleet::DECLARED,
    },
    Family {
        title: "Roles of instances",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(roles::api),
        declared: roles::DECLARED,
    },
    Family {
        title: "Commands on fleets",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(fleet_exec::api),
        declared: fleet_exec::DECLARED,
    },
    Family {
        title: "Key pairs",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(key_pairs::api),
        declared: key_pairs::DECLARED,
    },
    Family {
        title: "Security groups",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(security_groups::api),
        declared: security_groups::DECLARED,
    },
    Family {
        title: "Networks",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(network::api),
        declared: network::DECLARED,
    },
    Family {
        title: "Elastic IP addresses",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(addresses::api),
        declared: addresses::DECLARED,
    },
    Family {
        title: "Volumes",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(volumes::api),
        declared: volumes::DECLARED,
    },
    Family {
        title: "Snapshots",
        realm: Realm::Ec2,
        aws: true,
        functions: exported_manifest!(snapshots::api),
        declared: snapshots::DECLARED,
    },
    Family {
        title: "Buckets",
        realm: Realm::S3,
        aws: true,
        functions: exported_manifest!(buckets::api),
        declared: buckets::DECLARED,
    },
    Family {
        title: "Objects",
        realm: Realm::S3,
        aws: true,
        functions: exported_manifest!(objects::api),
        declared: objects::DECLARED,
    },
    Family {
        title: "Directories, lists, downloads and copies",
        realm: Realm::S3,
        aws: true,
        functions: exported_manifest!(transfers::api),
        declared: transfers::DECLARED,
    },
    Family {
        title: "Remote hosts",
        realm: Realm::Hosts,
        aws: false,
        functions: exported_manifest!(remote::api),
        declared: remote::DECLARED,
    },
    Family {
        title: "Copies to and from hosts",
        realm: Realm::Hosts,
        aws: false,
        functions: exported_manifest!(copies::api),
        declared: copies::DECLARED,
    },
    Family {
        title: "HTTP",
        realm: Realm::Hosts,
        aws: false,
        functions: exported_manifest!(http::api),
        declared: http::DECLARED,
    },
    Family {
        title: "Monitoring",
        realm: Realm::Hosts,
        aws: false,
        functions: exported_manifest!(monitoring::api),
        declared: monitoring::DECLARED,
    },
    Family {
        title: "Spot instances",
        realm: Realm::Hosts,
        aws: false,
        functions: exported_manifest!(spot::api),
        declared: spot::DECLARED,
    },
    Family {
        title: "Local files",
        realm: Realm::Here,
        aws: false,
        functions: exported_manifest!(local::api),
        declared: &[],
    },
    Family {
        title: "This machine",
        realm: Realm::Here,
        aws: false,
        functions: exported_manifest!(machine::api),
        declared: machine::DECLARED,
    },
    Family {
        title: "Values",
        realm: Realm::Playbook,
        aws: false,
        functions: exported_manifest!(data::api),
        declared: &[],
    },
    Family {
        title: "Control",
        realm: Realm::Playbook,
        aws: false,
        functions: exported_manifest!(control::api),
        declared: control::DECLARED,
    },
    Family {
        title: "Logging",
        realm: Realm::Playbook,
        aws: false,
        functions: exported_manifest!(logging::api),
        declared: &[],
    },
];

/// The function with which a playbook declares that it may run again while
/// instances of an earlier run are up.
pub const ALLOWS_AGAIN: &str = "allow_again";

/// The only function that launches instances.
pub const LAUNCHES: &str = "launch_instance";

/// Returns whether a function sends requests to AWS.
#[must_use]
pub fn is_aws_function(name: &str) -> bool {
    family_of(name).is_some_and(|family| family.aws)
}

/// Returns the realm of each function.
#[must_use]
pub fn realms() -> HashMap<&'static str, Realm> {
    let named = FAMILIES
        .iter()
        .flat_map(|family| family.names().map(|name| (name, family.realm)));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all functions with their parameters, such as
    /// `name(a: type, ..)`.
    fn signatures() -> Vec<String> {
        let modules = FAMILIES.iter().map(|family| family.documented(|_| true));
        let all = modules.flat_map(|module| {
            let all = module.gen_fn_signatures_with_mapper(Into::into);
            all.collect::<Vec<_>>()
        });
        all.collect()
    }

    #[test]
    fn every_function_with_options_declares_them() {
        let signatures = signatures();
        let with_options = signatures.iter().filter(|s| s.contains("options: Map"));
        for signature in with_options {
            let name = signature.split('(').next().unwrap();
            let row = declared(name).unwrap_or_else(|| panic!("{name} has no row"));
            assert_eq!(row.takes.unwrap().argument, "options", "{name}");
        }
        for row in FAMILIES.iter().flat_map(|family| family.declared) {
            let call = format!("{}(", row.function);
            let exists = signatures.iter().any(|s| s.starts_with(&call));
            assert!(exists, "{} is not a function", row.function);
        }
    }

    #[test]
    fn options_that_are_not_required_can_be_left_out() {
        let signatures = signatures();
        let calls = |name: &str| {
            let call = format!("{name}(");
            signatures.iter().filter(|s| s.starts_with(&call)).count()
        };
        assert_eq!(calls("ssh_exec"), 2);
        assert_eq!(calls("launch_instance"), 2);
        assert_eq!(calls("open_port"), 1);
        assert_eq!(calls("tag"), 1);
    }

    #[test]
    fn an_empty_map_is_valid_if_no_key_is_required() {
        for row in FAMILIES.iter().flat_map(|family| family.declared) {
            let Some(takes) = row.takes else { continue };
            let fields = takes.kind().fields().unwrap_or_default();
            let is_valid = (takes.read)(row.function, rhai::Map::new()).is_ok();
            let required = fields.iter().any(|field| field.required);
            assert_ne!(is_valid, required, "{}", row.function);
        }
    }

    #[test]
    fn the_documentation_changes_no_function() {
        let functions = |module: Module| -> BTreeSet<(String, Vec<std::any::TypeId>)> {
            let mut engine = rhai::Engine::new_raw();
            engine.register_global_module(module.into());
            let all = engine.collect_fn_metadata(None, |f| Some(f.metadata.clone()), false);
            let all = all.into_iter();
            all.map(|f| (f.name.to_string(), f.param_types.to_vec()))
                .collect()
        };
        for family in &FAMILIES {
            let plain = functions(family.module());
            assert_eq!(plain, functions(family.documented(|_| true)));
            for (name, types) in plain {
                assert!(arities(&name).unwrap().contains(&types.len()), "{name}");
            }
        }
    }

    #[test]
    fn every_key_of_a_result_is_documented() {
        for row in FAMILIES.iter().flat_map(|family| family.declared) {
            let kinds = [row.returns.map(|returns| returns.kind())];
            for field in kinds
                .iter()
                .flatten()
                .flat_map(|k| k.fields().unwrap_or_default())
            {
                assert!(!field.text.is_empty(), "{}: {}", row.function, field.name);
            }
        }
    }

    #[test]
    fn every_function_acts_in_one_realm() {
        let realms = realms();
        for family in &FAMILIES {
            assert_ne!(family.names().count(), 0, "{}", family.title);
            for function in family.names() {
                assert_eq!(realms[function], family.realm, "{function}");
            }
            // Functions that send requests to AWS have a colour of AWS.
            let is_aws = matches!(family.realm, Realm::Ec2 | Realm::S3);
            assert_eq!(is_aws, family.aws, "{}", family.title);
        }
    }
}
