#!/usr/bin/env python3
"""Compares the local cloud with the members of AWS's own service models.

Usage: check.py [--draft] [--unproven], with the output of `autorun cloud env`.
`--draft` prints rows for what is not classified, to begin with. `--unproven` prints
the members that are done, but whose sample value is refused: choose a better
sample. botocore contains the models. The tables `SERVICE-*.toml` beside this file
classify each member of the actions that the local cloud has:

    [in.SHAPE]                      members of a structure in requests
    done = "Name .."                the local cloud does what AWS does
    refused.CODE = "Name=value .."  refused with this code; `=value` is a sample
    irrelevant."because .." = ".."  accepted without an effect

    [out.SHAPE]                     members of a structure in answers
    done = "Name .."                an answer of the scenario has it
    absent."because .." = ".."      no answer has it, as on AWS
    missing."what" = "Name .."      AWS would return it

A member below one that is not `done` has the class of that member, and no row.
`scenario.py` makes the answers. A new action needs its rows, and a call there.
"""

import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

sys.dont_write_bytecode = True

import proofs
import scenario
from answers import Answers

HERE = Path(__file__).parent
CLASSES = {
    "in": ("done", "refused", "irrelevant"),
    "out": ("done", "absent", "missing"),
}
# Codes that say that the service does not know the parameter or failed.
UNREAD = ("UnknownParameter", "UnsupportedOperation", "InternalError")

faults = []
# Members that are done, and whose sample value is refused for another reason.
unproven = []
drafts = defaultdict(lambda: defaultdict(list))


def fault(text):
    faults.append(text)


class Row:
    """The class of one member."""

    def __init__(self, kind, detail=None, sample=None):
        self.kind, self.detail, self.sample = kind, detail, sample


class Table:
    """The rows of one service, by side, shape and member."""

    def __init__(self, service):
        self.rows = {}
        self.used = set()
        name = service.removeprefix("ec2-instance-")
        for file in sorted(HERE.glob(f"{name}*.toml")):
            for side, shapes in tomllib.loads(file.read_text()).items():
                for shape, classes in shapes.items():
                    self.read(file, side, shape, classes)

    def read(self, file, side, shape, classes):
        for kind, value in classes.items():
            if kind not in CLASSES[side]:
                fault(f"{file.name}: [{side}.{shape}] has the unknown class {kind}")
            details = {None: value} if isinstance(value, str) else value
            for detail, names in details.items():
                for word in names.split():
                    name, _, sample = word.partition("=")
                    if (side, shape, name) in self.rows:
                        fault(f"{file.name}: [{side}.{shape}] classifies {name} twice")
                    self.rows[side, shape, name] = Row(kind, detail, sample)

    def row(self, side, shape, name):
        self.used.add((side, shape, name))
        return self.rows.get((side, shape, name))

    def unused(self):
        return sorted(set(self.rows) - self.used)


def members(table, side, shape, path=(), stack=()):
    """Yields path and row of each member below a structure. The members below one
    that is not done have its row."""
    if shape is None or shape.name in stack:
        return
    for name, member in shape.members.items():
        row = table.row(side, shape.name, name)
        here = (*path, name)
        yield here, shape.name, member, row
        inner = member
        while inner.type_name in ("list", "map"):
            inner = inner.member if inner.type_name == "list" else inner.value
        if inner.type_name != "structure":
            continue
        if row is None or row.kind == "done":
            yield from members(table, side, inner, here, (*stack, shape.name))
        else:
            yield from inherited(inner, row, here, (*stack, shape.name))


def inherited(shape, row, path, stack):
    """Yields all members below a member that has this row."""
    if shape.name in stack:
        return
    row = Row(row.kind, row.detail)
    for name, member in shape.members.items():
        here = (*path, name)
        yield here, shape.name, member, row
        inner = member
        while inner.type_name == "list":
            inner = inner.member
        if inner.type_name == "structure":
            yield from inherited(inner, row, here, (*stack, shape.name))


def scalar(shape, name, sample, live):
    """Returns a value for a member that is not a structure."""
    if sample:
        return {"true": True, "false": False}.get(sample, sample)
    if name in live:
        return live[name]
    values = {"boolean": True, "integer": 1, "long": 1, "double": 1.0, "blob": b"x"}
    values["timestamp"] = "2030-01-01T00:00:00Z"
    return values.get(shape.type_name) or (getattr(shape, "enum", None) or ["x"])[0]


def value(shape, name, path, sample, live):
    """Returns a value of a shape. A structure has what it requires, and the member
    at the path."""
    if shape.type_name == "list":
        return [value(shape.member, name, path, sample, live)]
    if shape.type_name == "map":
        key = live.get(f"{name}.key", scenario.KEYS.get(name, "x"))
        return {key: value(shape.value, name, path, sample, live)}
    if shape.type_name != "structure":
        return scalar(shape, name, sample, live)
    also = scenario.ALSO.get(shape.name, []) + scenario.ALSO_WITH.get((shape.name, *path[:1]), [])
    parts = {
        each: value(shape.members[each], each, (), None, live)
        for each in (*shape.required_members, *also)
    }
    if path:
        parts[path[0]] = value(shape.members[path[0]], path[0], path[1:], sample, live)
    return parts


def request(operation, path, sample, live):
    """Returns a request that has the member at this path."""
    own = proofs.of_operation(live, operation.name)
    live = {**live, **scenario.samples(operation.name), **own}
    sample = sample or proofs.overrides(live, operation.name, path)
    whole = value(operation.input_shape, "", path, sample, live)
    base = scenario.base(operation.name, path[0], live)
    whole.update((name, given) for name, given in base.items() if name != path[0])
    whole = beside(scenario.beside(operation.name, path, live), whole, path)
    if "DryRun" in operation.input_shape.members:
        whole["DryRun"] = True
    return whole


def beside(given, own, path):
    """Returns a request with what it needs beside the member at the path, also in
    structures."""
    if isinstance(given, list) and isinstance(own, list):
        both = [beside(*pair, path) for pair in zip(given, own)]
        return both + given[len(both):]
    if not path or not isinstance(given, dict) or not isinstance(own, dict):
        return own
    whole = {**own, **given}
    if path[0] in own:
        whole[path[0]] = beside(given.get(path[0]), own[path[0]], path[1:])
    return whole


def code_of(client, operation, arguments):
    """Returns the code with which a request is refused, or `None`."""
    methods = client.meta.method_to_api_mapping.items()
    method = next(method for method, name in methods if name == operation)
    try:
        getattr(client, method)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def client_of(service, answers=None, region=None):
    """Returns a client that sends requests as they are, without retries."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    client = boto3.client(service, config=config, region_name=region)
    if answers is not None:
        name = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register(f"before-parse.{name}", answers.take)
    return client


def operations(client):
    """Returns the operations that the local cloud has. It refuses others with
    `InvalidAction`, or the code of the service's protocol."""
    known = []
    model = client.meta.service_model
    for name in model.operation_names:
        operation = model.operation_model(name)
        if operation.auth_type == "none":
            continue
        dry = operation.input_shape and "DryRun" in operation.input_shape.members
        try:
            arguments = {"DryRun": True} if dry else {}
            # botocore signs the request to this region.
            if name == "CopySnapshot":
                arguments["SourceRegion"] = "us-east-1"
            code = code_of(client, name, arguments)
        except (ParamValidationError, TypeError, KeyError):
            code = "InvalidAction"
        if code not in ("InvalidAction", "UnknownOperationException"):
            known.append(name)
    return known


def check_input(client, model, table, live, counts):
    for path, shape, member, row in members(table, "in", model.input_shape):
        text = ".".join((model.name, *path))
        if row is None:
            fault(f"{text} is not classified: [in.{shape}]")
            code = code_of(client, model.name, request(model, path, None, live))
            draft("in", shape, path[-1], f"refused.{code}" if code in UNREAD else "done")
            continue
        counts[row.kind, row.detail if row.kind == "refused" else None] += 1
        leaf = member
        while leaf.type_name == "list":
            leaf = leaf.member
        if leaf.type_name == "structure" and leaf.members:
            continue  # the requests with its members have it
        ready = {**live, **proofs.before(client, model.name, live)}
        used = proofs.elsewhere if model.name == "CreateDefaultVpc" else client
        code = code_of(used, model.name, request(model, path, row.sample, ready))
        if row.kind == "refused" and code != row.detail:
            fault(f"{text} is answered with {code}, not refused with {row.detail}")
        if row.kind != "refused" and code in UNREAD:
            fault(f"{text} is {row.kind}, but refused with {code}")
        if row.kind != "refused" and code not in (None, "DryRunOperation"):
            unproven.append(f"{text}: {code}")


def check_output(model, table, answers, counts):
    for path, shape, member, row in members(table, "out", model.output_shape):
        text = ".".join((model.name, *path))
        if row is None:
            fault(f"{text} is not classified: [out.{shape}]")
            draft("out", shape, path[-1], "done" if answers.has_shape(shape, path[-1]) else "missing")
            continue
        counts[row.kind, None] += 1
        seen = answers.has(model.name, path)
        if row.kind == "done" and not answers.has_shape(shape, path[-1]):
            fault(f"{text} is done, but no answer has it")
        if row.kind != "done" and seen:
            fault(f"{text} is {row.kind}, but an answer has it")


def draft(side, shape, member, kind):
    """Keeps a row for a member that is not classified, for `--draft`."""
    drafts[side, shape][kind].append(member)


def print_drafts():
    for (side, shape), kinds in drafts.items():
        print(f"[{side}.{shape}]")
        for kind, names in kinds.items():
            print(f'{kind} = "{" ".join(dict.fromkeys(names))}"')
        print()


def check(service):
    table = Table(service)
    answers = Answers()
    proofs.elsewhere = client_of(service, answers, proofs.ELSEWHERE)
    live = scenario.play(service, client_of(service, answers))
    live.update(answers.tokens)
    client = client_of(service)
    counts = {"in": Counter(), "out": Counter()}
    known = operations(client)
    for name in known:
        model = client.meta.service_model.operation_model(name)
        if name not in answers.actions and name not in scenario.NOT_CALLED:
            fault(f"the scenario does not call {name}")
        if model.input_shape:
            check_input(client, model, table, live, counts["in"])
        if model.output_shape:
            check_output(model, table, answers, counts["out"])
    for text in answers.faults:
        fault(text)
    for side, shape, name in table.unused():
        fault(f"[{side}.{shape}] classifies {name}, which no action has")
    scenario.clean_up(service, client)
    report(service, known, counts)


def report(service, known, counts):
    print(f"{service}: {len(known)} actions")
    for side, what in [("in", "input"), ("out", "output")]:
        kinds = defaultdict(int)
        for (kind, _), number in counts[side].items():
            kinds[kind] += number
        total = sum(kinds.values())
        shown = ", ".join(f"{kinds[kind]} {kind}" for kind in CLASSES[side])
        print(f"  {total} {what} members: {shown}")


def main():
    for service in scenario.SERVICES:
        check(service)
    if unproven:
        fault(f"{len(unproven)} members are done, and their sample values are refused: "
              "`--unproven` prints them")
    finish()


def finish():
    """Prints the drafts and the faults, and ends."""
    if "--draft" in sys.argv:
        print_drafts()
    if "--unproven" in sys.argv:
        print("\n".join(unproven))
    for text in faults:
        print(text, file=sys.stderr)
    if faults:
        sys.exit(f"{len(faults)} faults")


if __name__ == "__main__":
    main()
