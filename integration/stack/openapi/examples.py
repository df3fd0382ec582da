"""Checks each example of an OpenAPI document against the schema beside it.

The standard asks for that and its own schema cannot express it, so the validator does not
look. Prints how many there are; exits with 1 and their places if some do not fit.
"""

import sys

import yaml
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

BASE = "urn:document"


def resolve(document, value):
    while isinstance(value, dict) and "$ref" in value:
        place, value = value["$ref"], document
        for name in place.removeprefix("#/").split("/"):
            value = value[name.replace("~1", "/").replace("~0", "~")]
    return value


def holders(document, value, place):
    """Everything with a schema and examples: parameters, headers and media types."""
    if isinstance(value, dict):
        if "schema" in value:
            yield place, value
        for name, member in value.items():
            if name not in ("example", "examples", "value"):
                yield from holders(document, member, f"{place}/{name}")
    elif isinstance(value, list):
        for position, element in enumerate(value):
            yield from holders(document, element, f"{place}/{position}")


def absolute(value):
    """The same schema with references that lead into the document."""
    if isinstance(value, dict):
        return {
            name: BASE + member if name == "$ref" else absolute(member)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [absolute(element) for element in value]
    return value


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = yaml.safe_load(file)
    resource = Resource.from_contents(absolute(document), DRAFT202012)
    registry = Registry().with_resource(BASE, resource)
    count, wrong = 0, []
    for place, holder in holders(document, document, "#"):
        validator = OAS31Validator(
            absolute(holder["schema"]),
            registry=registry,
            format_checker=OAS31Validator.FORMAT_CHECKER,
        )
        examples = {
            name: resolve(document, example)["value"]
            for name, example in holder.get("examples", {}).items()
        }
        if "example" in holder:
            examples["example"] = holder["example"]
        for name, example in examples.items():
            count += 1
            error = next(validator.iter_errors(example), None)
            if error is not None:
                wrong.append(f"{place}, {name}: {error.message}")
    print(f"{count} examples")
    print("\n".join(wrong))
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
