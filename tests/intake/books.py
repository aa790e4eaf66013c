"""What workbooks do tests send? Small ones, made part by part, so that their cells are exactly what a case needs."""

import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>"""
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_ROOT = f"""<Relationships xmlns="{_RELS}">
<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>"""
_BOOK = f"""<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>
<sheet name="hidden" sheetId="1" state="hidden" r:id="rId1"/><sheet name="list" sheetId="2" r:id="rId2"/>
</sheets></workbook>"""
_BOOK_RELS = f"""<Relationships xmlns="{_RELS}">
<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>
<Relationship Id="rId2" Type="{_OFFICE}/worksheet" Target="worksheets/sheet2.xml"/>
<Relationship Id="rId3" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>"""
# Style 1 is a date.
_STYLES = f"""<styleSheet xmlns="{_MAIN}">
<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"""


class Raw(str):
    """A cell as XML, without its reference."""


def sheet(rows: Sequence[Sequence[object]], *, first_row: int = 1, first_column: int = 0) -> str:
    """The XML of a sheet; None is a cell that is not there."""
    lines = []
    for number, row in enumerate(rows, start=first_row):
        cells = []
        for position, cell in enumerate(row, start=first_column):
            at = f"{chr(ord('A') + position)}{number}"
            match cell:
                case None:
                    continue
                case Raw():
                    cells.append(cell.format(at=at))
                case bool():
                    cells.append(f'<c r="{at}" t="b"><v>{int(cell)}</v></c>')
                case int() | float():
                    cells.append(f'<c r="{at}"><v>{cell}</v></c>')
                case _:
                    text = escape(str(cell))
                    cells.append(f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>')
        if cells:
            lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def xlsx(rows: Sequence[Sequence[object]], **place: int) -> bytes:
    """A workbook whose second sheet, the first that is visible, has these rows."""
    return packed(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": _ROOT,
            "xl/workbook.xml": _BOOK,
            "xl/_rels/workbook.xml.rels": _BOOK_RELS,
            "xl/styles.xml": _STYLES,
            "xl/worksheets/sheet1.xml": sheet([["+79990000000"]]),
            "xl/worksheets/sheet2.xml": sheet(rows, **place),
        }
    )


def packed(parts: dict[str, str]) -> bytes:
    """A zip of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def bomb() -> bytes:
    """A workbook of half a megabyte that would be half a gigabyte."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w") as part,
    ):
        for _ in range(500):
            part.write(bytes(1 << 20))
    return file.getvalue()
