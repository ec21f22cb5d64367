//! The families of primitives in the order of the manual.
//!
//! The functions of a family are in the file of the family.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use rhai::{Module, exported_module};

use super::{
    addresses, buckets, control, copies, data, fleet, http, images, instances, key_pairs, local,
    logging, machine, monitoring, network, objects, remote, security_groups, snapshots, transfers,
    variables, volumes,
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
    /// Builds the module of its functions, only with the overloads in the
    /// source.
    functions: fn() -> Module,
    /// The options and results of its functions.
    pub declared: &'static [Declared],
}

impl Family {
    /// Returns the module of its functions, including the calls without
    /// options.
    #[must_use]
    pub fn module(&self) -> Module {
        let mut module = (self.functions)();
        script::add_shorter_calls(&mut module, self.declared);
        module
    }

    /// Returns the names of its functions.
    fn names(&self) -> BTreeSet<String> {
        let module = self.module();
        let signatures = module.gen_fn_signatures_with_mapper(Into::into);
        let name = |signature: String| signature.split('(').next().unwrap_or_default().to_owned();
        signatures.map(name).collect()
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
    static NAMES: LazyLock<BTreeSet<String>> =
        LazyLock::new(|| FAMILIES.iter().flat_map(Family::names).collect());
    NAMES.contains(name)
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
pub const FAMILIES: [Family; 22] = [
    Family {
        title: "Variables",
        realm: Realm::Playbook,
        aws: false,
        functions: || exported_module!(variables::api),
        declared: variables::DECLARED,
    },
    Family {
        title: "Images",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(images::api),
        declared: images::DECLARED,
    },
    Family {
        title: "Instances",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(instances::api),
        declared: instances::DECLARED,
    },
    Family {
        title: "Existing instances",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(fleet::api),
        declared: fleet::DECLARED,
    },
    Family {
        title: "Key pairs",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(key_pairs::api),
        declared: key_pairs::DECLARED,
    },
    Family {
        title: "Security groups",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(security_groups::api),
        declared: security_groups::DECLARED,
    },
    Family {
        title: "Networks",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(network::api),
        declared: network::DECLARED,
    },
    Family {
        title: "Elastic IP addresses",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(addresses::api),
        declared: addresses::DECLARED,
    },
    Family {
        title: "Volumes",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(volumes::api),
        declared: volumes::DECLARED,
    },
    Family {
        title: "Snapshots",
        realm: Realm::Ec2,
        aws: true,
        functions: || exported_module!(snapshots::api),
        declared: snapshots::DECLARED,
    },
    Family {
        title: "Buckets",
        realm: Realm::S3,
        aws: true,
        functions: || exported_module!(buckets::api),
        declared: buckets::DECLARED,
    },
    Family {
        title: "Objects",
        realm: Realm::S3,
        aws: true,
        functions: || exported_module!(objects::api),
        declared: objects::DECLARED,
    },
    Family {
        title: "Directories, lists, downloads and copies",
        realm: Realm::S3,
        aws: true,
        functions: || exported_module!(transfers::api),
        declared: transfers::DECLARED,
    },
    Family {
        title: "Remote hosts",
        realm: Realm::Hosts,
        aws: false,
        functions: || exported_module!(remote::api),
        declared: remote::DECLARED,
    },
    Family {
        title: "Copies to and from hosts",
        realm: Realm::Hosts,
        aws: false,
        functions: || exported_module!(copies::api),
        declared: copies::DECLARED,
    },
    Family {
        title: "HTTP",
        realm: Realm::Hosts,
        aws: false,
        functions: || exported_module!(http::api),
        declared: http::DECLARED,
    },
    Family {
        title: "Monitoring",
        realm: Realm::Hosts,
        aws: false,
        functions: || exported_module!(monitoring::api),
        declared: monitoring::DECLARED,
    },
    Family {
        title: "Local files",
        realm: Realm::Here,
        aws: false,
        functions: || exported_module!(local::api),
        declared: &[],
    },
    Family {
        title: "This machine",
        realm: Realm::Here,
        aws: false,
        functions: || exported_module!(machine::api),
        declared: machine::DECLARED,
    },
    Family {
        title: "Values",
        realm: Realm::Playbook,
        aws: false,
        functions: || exported_module!(data::api),
        declared: &[],
    },
    Family {
        title: "Control",
        realm: Realm::Playbook,
        aws: false,
        functions: || exported_module!(control::api),
        declared: control::DECLARED,
    },
    Family {
        title: "Logging",
        realm: Realm::Playbook,
        aws: false,
        functions: || exported_module!(logging::api),
        declared: &[],
    },
];

/// The function with which a playbook declares that it may run again while
/// instances of an earlier run are up.
pub const ALLOWS_AGAIN: &str = "allow_again";

/// The only function that launches instances.
pub const LAUNCHES: &str = "launch_instance";

/// Returns the names of the functions that send requests to AWS.
#[must_use]
pub fn aws_functions() -> BTreeSet<String> {
    let families = FAMILIES.iter().filter(|family| family.aws);
    families.flat_map(Family::names).collect()
}

/// Returns the realm of each function.
#[must_use]
pub fn realms() -> HashMap<String, Realm> {
    let named = FAMILIES.iter().flat_map(|family| {
        let names = family.names().into_iter();
        names.map(|name| (name, family.realm))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all functions with their parameters, such as
    /// `name(a: type, ..)`.
    fn signatures() -> Vec<String> {
        let modules = FAMILIES.iter().map(Family::module);
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
            let functions = family.names();
            assert!(!functions.is_empty(), "{}", family.title);
            for function in functions {
                assert_eq!(realms[&function], family.realm, "{function}");
            }
            // Functions that send requests to AWS have a colour of AWS.
            let is_aws = matches!(family.realm, Realm::Ec2 | Realm::S3);
            assert_eq!(is_aws, family.aws, "{}", family.title);
        }
    }
}
