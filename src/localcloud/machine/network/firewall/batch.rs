//! Batches of changes to tables, chains, sets and rules, which take effect
//! together. The numbers of attributes are the kernel's `NFTA_*`, from
//! linux/netfilter/nf_tables.h.

use std::io;
use std::net::Ipv4Addr;

use super::super::netlink::{Answer, Kernel, NLM_F_REQUEST, Writer};
use super::expressions::{Expression, Map, NFPROTO_INET, Verdict, write_value, write_verdict};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;

const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// The type of a four-byte key, for programs that list the rules.
const TYPE_IPV4_ADDRESS: u32 = 7;
const TYPE_INTERFACE_AND_ADDRESS: u32 = 20 << 6 | TYPE_IPV4_ADDRESS;
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// The maximum number of elements in one message; a few times as many would
/// fit.
const ELEMENTS_A_MESSAGE: usize = 256;

/// The point at which packets enter a chain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hook {
    /// All incoming packets, before connection tracking.
    Prerouting,
    Input,
    Forward,
    Output,
    /// The first packet of each incoming connection, to change its destination.
    NewDestination,
    /// The first packet of each outgoing connection, to change its source.
    NewSource,
}

impl Hook {
    fn number_and_priority(self) -> (u32, i32) {
        match self {
            Self::Prerouting => (0, -300),
            Self::Input => (1, 0),
            Self::Forward => (2, 0),
            Self::Output => (3, 0),
            Self::NewDestination => (0, -100),
            Self::NewSource => (4, 100),
        }
    }

    /// Returns the type of the chain, and what it does with packets that it does
    /// not accept. A chain that translates addresses lets all packets pass.
    fn kind_and_policy(self) -> (&'static str, u32) {
        const DROP: u32 = 0;
        const ACCEPT: u32 = 1;
        match self {
            Self::NewDestination | Self::NewSource => ("nat", ACCEPT),
            Self::Prerouting | Self::Input | Self::Forward | Self::Output => ("filter", DROP),
        }
    }
}

/// An element of the set of veth pairs: an interface index and its permitted source
/// address.
pub(super) type CableKey = (u32, Ipv4Addr);

/// Messages that the kernel applies together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    writer: Writer,
    /// The subject of each message, for errors.
    subjects: Vec<Subject>,
    maps: u32,
}

/// The subject of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    All,
    Table,
    Chain,
    Set,
    Rule,
}

impl Subject {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all rules",
            Self::Table => "a table",
            Self::Chain => "a chain",
            Self::Set => "a set",
            Self::Rule => "a rule",
        }
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self {
            writer: Writer::default(),
            subjects: Vec::new(),
            maps: 0,
        };
        batch.envelope(BATCH_BEGIN);
        batch
    }

    fn envelope(&mut self, kind: u16) {
        let sequence = self.next(Subject::All);
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.writer
            .message(kind, NLM_F_REQUEST, sequence, |writer| {
                writer.raw(&[0, 0, high, low]);
            });
    }

    fn next(&mut self, subject: Subject) -> u32 {
        self.subjects.push(subject);
        u32::try_from(self.subjects.len()).unwrap_or(u32::MAX)
    }

    fn message(&mut self, kind: u16, flags: u16, subject: Subject, body: impl FnOnce(&mut Writer)) {
        let sequence = self.next(subject);
        let flags = NLM_F_REQUEST | flags;
        self.writer
            .message(SUBSYSTEM << 8 | kind, flags, sequence, |writer| {
                writer.raw(&[NFPROTO_INET, 0, 0, 0]);
                body(writer);
            });
    }

    /// Creates a table, or empties it if it exists.
    pub(super) fn renew_table(&mut self, name: &str) {
        let make = |batch: &mut Self, flags| {
            batch.message(NEW_TABLE, flags, Subject::Table, |writer| {
                writer.text(1, name);
            });
        };
        // The table must exist, or its deletion would fail.
        make(self, NLM_F_CREATE);
        self.message(DELETE_TABLE, 0, Subject::Table, |writer| {
            writer.text(1, name);
        });
        make(self, NLM_F_CREATE);
    }

    /// Adds a chain that rules jump to.
    pub(super) fn add_chain(&mut self, table: &str, name: &str) {
        self.message(NEW_CHAIN, NLM_F_CREATE, Subject::Chain, |writer| {
            writer.text(1, table);
            writer.text(3, name);
        });
    }

    /// Adds a chain that packets enter at a hook. A filter drops what it does not
    /// accept.
    pub(super) fn add_base_chain(&mut self, table: &str, name: &str, hook: Hook) {
        let (number, priority) = hook.number_and_priority();
        let (kind, policy) = hook.kind_and_policy();
        self.message(NEW_CHAIN, NLM_F_CREATE, Subject::Chain, |writer| {
            writer.text(1, table);
            writer.text(3, name);
            writer.nested(4, |writer| {
                writer.number(1, number);
                writer.number(2, priority.cast_unsigned());
            });
            writer.number(5, policy);
            writer.text(7, kind);
        });
    }

    pub(super) fn add_rule(&mut self, table: &str, chain: &str, rule: &[Expression]) {
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        self.message(NEW_RULE, flags, Subject::Rule, |writer| {
            writer.text(1, table);
            writer.text(2, chain);
            writer.nested(4, |writer| {
                for expression in rule {
                    expression.write(writer);
                }
            });
        });
    }

    /// Adds a map from addresses to verdicts, for one rule of this batch.
    pub(super) fn add_map(&mut self, table: &str, verdicts: &[(Ipv4Addr, Verdict)]) -> Map {
        const ANONYMOUS_CONSTANT_MAP: u32 = 1 | 2 | 8;
        self.maps += 1;
        let map = Map { id: self.maps };
        self.message(NEW_SET, NLM_F_CREATE, Subject::Set, |writer| {
            writer.text(1, table);
            writer.text(2, Map::NAME);
            writer.number(3, ANONYMOUS_CONSTANT_MAP);
            writer.number(4, TYPE_IPV4_ADDRESS);
            writer.number(5, 4);
            writer.number(6, TYPE_VERDICT);
            writer.number(7, 0);
            writer.number(10, map.id);
        });
        for verdicts in verdicts.chunks(ELEMENTS_A_MESSAGE) {
            self.message(NEW_ELEMENTS, NLM_F_CREATE, Subject::Set, |writer| {
                writer.text(1, table);
                writer.text(2, Map::NAME);
                writer.number(4, map.id);
                writer.nested(3, |writer| {
                    for (address, verdict) in verdicts {
                        writer.nested(1, |writer| {
                            write_value(writer, 1, &address.octets());
                            write_verdict(writer, 2, verdict);
                        });
                    }
                });
            });
        }
        map
    }

    /// Adds an empty set of interfaces with their addresses.
    pub(super) fn add_cable_set(&mut self, table: &str, name: &str) {
        self.maps += 1;
        let id = self.maps;
        self.message(NEW_SET, NLM_F_CREATE, Subject::Set, |writer| {
            writer.text(1, table);
            writer.text(2, name);
            writer.number(3, 0);
            writer.number(4, TYPE_INTERFACE_AND_ADDRESS);
            writer.number(5, 8);
            writer.number(10, id);
        });
    }

    pub(super) fn add_cable(&mut self, table: &str, set: &str, key: CableKey) {
        self.cable(NEW_ELEMENTS, NLM_F_CREATE, table, set, key);
    }

    pub(super) fn delete_cable(&mut self, table: &str, set: &str, key: CableKey) {
        self.cable(DELETE_ELEMENTS, 0, table, set, key);
    }

    fn cable(&mut self, kind: u16, flags: u16, table: &str, set: &str, key: CableKey) {
        let (interface, address) = key;
        let key = [interface.to_ne_bytes(), address.octets()].concat();
        self.message(kind, flags, Subject::Set, |writer| {
            writer.text(1, table);
            writer.text(2, set);
            writer.nested(3, |writer| {
                writer.nested(1, |writer| write_value(writer, 1, &key));
            });
        });
    }

    /// Applies all changes or none.
    pub(super) fn commit(mut self, kernel: &Kernel) -> io::Result<()> {
        // The kernel always reports errors, but success only on request.
        // Without this request, a missing answer would count as success.
        self.writer.demand_answer();
        let confirmed = self.subjects.len();
        self.envelope(BATCH_END);
        let answers = kernel.send(&self.writer.finish()?)?;
        judge(&self.subjects, confirmed, &answers)
    }
}

/// Returns the first error, and an error if the last change is not
/// acknowledged.
fn judge(subjects: &[Subject], confirmed: usize, answers: &[Answer]) -> io::Result<()> {
    let position = |answer: &Answer| usize::try_from(answer.sequence).unwrap_or(usize::MAX);
    if let Some(refused) = answers.iter().find(|answer| answer.code != 0) {
        let subject = subjects.get(position(refused).saturating_sub(1));
        return Err(refusal(*subject.unwrap_or(&Subject::All), refused));
    }
    if answers.iter().any(|answer| position(answer) == confirmed) {
        Ok(())
    } else {
        Err(io::Error::other("the kernel did not acknowledge the rules"))
    }
}

fn refusal(subject: Subject, answer: &Answer) -> io::Error {
    let error = io::Error::from_raw_os_error(answer.code);
    let detail = match &answer.message {
        Some(message) => format!(": {message}"),
        None => String::new(),
    };
    let text = format!("the kernel rejected {}: {error}{detail}", subject.as_str());
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sequence: u32, code: i32) -> Answer {
        Answer {
            sequence,
            code,
            message: None,
        }
    }

    #[test]
    fn a_missing_answer_is_not_success() {
        let subjects = [Subject::All, Subject::Table, Subject::Rule];
        assert!(judge(&subjects, 3, &[answer(3, 0)]).is_ok());
        assert!(judge(&subjects, 3, &[]).is_err());
        assert!(judge(&subjects, 3, &[answer(2, 0)]).is_err());
    }

    #[test]
    fn an_error_counts_even_if_the_last_change_is_acknowledged() {
        let subjects = [Subject::All, Subject::Table, Subject::Rule];
        let mut refused = answer(2, nix::libc::EOPNOTSUPP);
        refused.message = Some("too old".to_owned());
        let error = judge(&subjects, 3, &[refused, answer(3, 0)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel rejected a table: Operation not supported (os error 95): too old"
        );
        // An answer to a message that was never sent.
        assert!(judge(&subjects, 3, &[answer(0, 1), answer(3, 0)]).is_err());
        assert!(judge(&subjects, 3, &[answer(9, 1), answer(3, 0)]).is_err());
    }
}
