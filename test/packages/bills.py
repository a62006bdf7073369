"""Checks bills of materials against CycloneDX's own schema. Arguments: the files."""
import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_6)
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    problem = validator.validate_str(text)
    if problem is not None:
        sys.exit(f"{path}: {problem}")
    names = [component["name"] for component in json.loads(text)["components"]]
    for expected in ("commander", "bun", "JavaScriptCore", "boringssl"):
        if expected not in names:
            sys.exit(f"{path}: {expected} is missing")
    print(f"{path.rsplit('/', 1)[-1]}: {len(names)} components")
