"""Answers of the local cloud, compared with botocore's models: the elements that
AWS's clients would not read, the types of values and the values of enumerations."""

import json
import re
from xml.etree import ElementTree

from scenario import BEYOND_THE_MODEL

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Answers:
    """The members that occur in answers."""

    def __init__(self):
        self.actions = set()
        self.faults = []
        self.paths = set()
        self.shapes = set()
        # Tokens of the next pages, by the name of the member that takes them.
        self.tokens = {}

    def has(self, action, path):
        return (action, path) in self.paths

    def has_shape(self, shape, member):
        return (shape, member) in self.shapes

    def take(self, operation_model, response_dict, **_):
        """Reads an answer: a handler of botocore's event `before-parse`."""
        if response_dict["status_code"] >= 300:
            return
        action, shape = operation_model.name, operation_model.output_shape
        self.actions.add(action)
        if shape is None:
            return
        protocol = operation_model.metadata["protocol"]
        if protocol == "json":
            self.json(action, shape, json.loads(response_dict["body"] or b"{}"), ())
            return
        root = ElementTree.fromstring(response_dict["body"])
        if protocol == "query":
            root = root.find(f"{{*}}{shape.serialization.get('resultWrapper', f'{action}Result')}")
        self.structure(action, shape, root, (), protocol)

    def fault(self, action, path, text):
        text = f"an answer to {'.'.join((action, *path))} {text}"
        if text not in self.faults:
            self.faults.append(text)

    def structure(self, action, shape, node, path, protocol):
        names = {
            member.serialization.get("name", name): name
            for name, member in shape.members.items()
        }
        for child in node:
            tag = child.tag.split("}")[-1]
            # AWS sends `return` with answers whose model does not have it.
            if tag not in names and not path and tag in (
                    "requestId", "return", "ResponseMetadata"):
                continue
            if tag not in names:
                self.fault(action, path, f"has the element {tag}, which {shape.name} has not")
                continue
            name = names[tag]
            self.seen(action, shape, name, (*path, name))
            self.value(action, shape.members[name], child, (*path, name), protocol)

    def seen(self, action, shape, name, path):
        self.paths.add((action, path))
        self.shapes.add((shape.name, name))

    def value(self, action, shape, node, path, protocol):
        if shape.type_name == "list":
            for item in node:
                tag, wanted = item.tag.split("}")[-1], shape.member.serialization.get("name", "member")
                if tag != wanted:
                    self.fault(action, path, f"has the list element {tag}, not {wanted}")
                self.value(action, shape.member, item, path, protocol)
        elif shape.type_name == "structure":
            self.structure(action, shape, node, path, protocol)
        else:
            if path[-1] in ("NextToken", "Marker"):
                self.tokens[f"{action}.{path[-1]}"] = node.text
            self.scalar(action, shape, node.text or "", path)

    def scalar(self, action, shape, text, path):
        wrong = {
            "boolean": lambda: text not in ("true", "false"),
            "integer": lambda: not re.fullmatch(r"-?\d+", text),
            "long": lambda: not re.fullmatch(r"-?\d+", text),
            "double": lambda: not re.fullmatch(r"-?\d+(\.\d+)?", text),
            "float": lambda: not re.fullmatch(r"-?\d+(\.\d+)?", text),
            "timestamp": lambda: not TIME.fullmatch(text),
        }.get(shape.type_name, lambda: False)
        if wrong():
            self.fault(action, path, f"has {text!r}, which is not a {shape.type_name}")
        enum = getattr(shape, "enum", None)
        if enum and text not in enum and (shape.name, text) not in BEYOND_THE_MODEL:
            self.fault(action, path, f"has {text!r}, which is not one of {', '.join(enum)}")

    def json(self, action, shape, value, path):
        if shape.type_name == "list":
            for item in value:
                self.json(action, shape.member, item, path)
        elif shape.type_name == "structure":
            for name, inner in value.items():
                if name not in shape.members:
                    self.fault(action, path, f"has {name}, which {shape.name} has not")
                    continue
                self.seen(action, shape, name, (*path, name))
                self.json(action, shape.members[name], inner, (*path, name))
        elif path[-1] == "NextToken":
            self.tokens[f"{action}.NextToken"] = value
        elif shape.type_name in ("integer", "long") and not isinstance(value, int):
            self.fault(action, path, f"has {value!r}, which is not a number")
