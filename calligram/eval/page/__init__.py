"""What an evaluation writes for people: a page, a table in Markdown, and CSV for their spreadsheets."""

from calligram.eval.page.html import write_page
from calligram.eval.page.text import as_csv, as_markdown

__all__ = ["as_csv", "as_markdown", "write_page"]
