"""Checks custom resources against the schemas in their definitions, as strictly as kubernetes-validate checks the rest.

Use: custom_resources.py DEFINITION... -- MANIFESTS...
Ends with 1 if a resource is wrong, and if it finds none at all: there is nothing here to succeed with then.
"""

import sys

import jsonschema
import yaml


def strict(schema):
    """An API server drops what a schema does not know; a check must complain of it."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) if key != "properties" else value for key, value in schema.items()}
    if "items" in schema:
        schema["items"] = strict(schema["items"])
    if "properties" in schema:
        schema["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return schema


def schemas(paths):
    """Schemas by API version and kind."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            spec = yaml.safe_load(file)["spec"]
        for version in spec["versions"]:
            schema = dict(version["schema"]["openAPIV3Schema"])
            # Every object has metadata; its own schema says nothing of what is in it.
            schema["properties"] = {**schema["properties"], "metadata": {"type": "object"}}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = strict(schema)
    return found


def main(arguments):
    split = arguments.index("--")
    known = schemas(arguments[:split])
    checked = wrong = 0
    for path in arguments[split + 1 :]:
        with open(path, encoding="utf-8") as file:
            resources = [each for each in yaml.safe_load_all(file) if each]
        for resource in resources:
            schema = known.get((resource["apiVersion"], resource["kind"]))
            if schema is None:
                continue
            checked += 1
            name = f"{resource['kind'].lower()}/{resource['metadata']['name']}"
            errors = list(jsonschema.Draft202012Validator(schema).iter_errors(resource))
            for error in errors:
                wrong += 1
                print(f"ERROR {path} {name}: {error.json_path}: {error.message}")
            if not errors:
                print(f"INFO {path} passed for custom resource {name}")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
