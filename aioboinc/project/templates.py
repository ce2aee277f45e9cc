"""The output template of our workunits, from which the documents of results are made."""

from __future__ import annotations

from aioboinc import errors
from aioboinc.project.config import OUTPUT_TEMPLATE, Project
from aioboinc.wire import codec, documents

__all__ = ["OUTPUT", "OUTPUT_TEXT", "read"]

OUTPUT = OUTPUT_TEMPLATE
"""Its path, relative to the project's root."""
OUTPUT_TEXT = f"""\
<output_template>
    <file_info>
        <name><OUTFILE_0/></name>
        <generated_locally/>
        <upload_when_present/>
        <max_nbytes>{codec.LIMITS.size}</max_nbytes>
        <url><UPLOAD_URL/></url>
    </file_info>
    <result>
        <file_ref>
            <file_name><OUTFILE_0/></file_name>
            <open_name>{documents.OUTPUT}</open_name>
        </file_ref>
    </result>
</output_template>
"""

_MAX_DOCUMENT = 65535
"""Bytes of a blob."""


def read(project: Project, name: str = OUTPUT) -> documents.Template:
    """Read the output template *name*, relative to the project's root. Blocks.

    Raises `errors.ProjectError` if it is missing, or if results of the project need upload certificates.
    """
    path = project.root / name
    if project.upload_certificates:
        raise errors.ProjectError(
            f"{project.root}: results need upload certificates, which only BOINC's transitioner makes: run that, "
            "or set dont_generate_upload_certificates and ignore_upload_certificates in config.xml"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.ProjectError(f"output template {errors.describe(path, error)}") from None
    except UnicodeDecodeError:
        raise errors.ProjectError(f"output template {path}: not UTF-8") from None
    template = documents.parse_template(text, project.upload_url)
    if len(template.document("x" * 255)) > _MAX_DOCUMENT:
        raise errors.ProjectError(f"output template {path}: too long")
    return template
