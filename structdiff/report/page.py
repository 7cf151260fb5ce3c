"""Layout of all pages of the report (light and dark, wide and narrow), and sorting of tables."""

from html import escape

__all__ = ["SORT", "page"]

_STYLE = """
:root { color-scheme: light dark; --text: #1f2933; --quiet: #52606d; --ground: #fff;
  --raised: #f4f7fa; --line: #d9e0e8; --link: #1d5f8a; --good: #22794a; --bad: #b3372a;
  --unsure: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9ee; --quiet: #a3b1bf; --ground: #12181f;
  --raised: #1b242e; --line: #33404d; --link: #7cc0ee; --good: #6fcf97; --bad: #f2897b;
  --unsure: #e5b95c; } }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, "DejaVu Sans", sans-serif; color: var(--text);
  background: var(--ground); margin: 0 auto; padding: 1.2rem clamp(.8rem, 3vw, 2rem) 4rem;
  max-width: 1180px; overflow-wrap: break-word; }
@media (max-width: 799px) { body { padding-top: 2.4rem; } }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: .8rem 0; }
.lead { font-size: 1.1rem; max-width: 46rem; }
p { max-width: 46rem; }
.note, figcaption { color: var(--quiet); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem;
  padding: 0; margin: 1rem 0; list-style: none; }
.facts li { background: var(--raised); border-radius: .5rem; padding: .6rem .8rem; }
.facts b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; }
figure img { display: block; max-width: min(100%, 52rem); height: auto; background: #fff;
  border-radius: .5rem; padding: .4rem; border: 1px solid var(--line); }
.panorama { overflow-x: auto; }
.panorama img { max-width: none; width: max(100%, 44rem); }
figcaption { max-width: 46rem; margin-top: .4rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
.tall { max-height: 32rem; overflow: auto; }
.tall .wide { overflow: visible; }
table { border-collapse: collapse; font-size: .9rem; }
th { position: sticky; top: 0; background: var(--raised); text-align: left;
  vertical-align: bottom; }
th, td { padding: .35rem .65rem; border-bottom: 1px solid var(--line); }
td { vertical-align: top; }
.sortable th { cursor: pointer; }
.sortable th:hover { color: var(--link); }
th[aria-sort=ascending]::after { content: " ▲"; }
th[aria-sort=descending]::after { content: " ▼"; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.sequence { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere;
  min-width: 14rem; }
td:empty::after { content: "–"; color: var(--quiet); }
summary { cursor: pointer; color: var(--link); }
pre { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-x: auto; }
.good { color: var(--good); } .bad { color: var(--bad); } .unsure { color: var(--unsure); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: .9rem; margin: 1rem 0; }
.card { background: var(--raised); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem; }
.card h4 { margin: 0 0 .3rem; font-size: 1rem; }
.card .peptide { overflow-wrap: anywhere;
  font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
.card svg { display: block; width: 100%; max-width: 15rem; margin: .4rem auto; }
.card p { margin: .3rem 0; font-size: .9rem; }
button { font: inherit; color: var(--link); background: none; border: 1px solid currentColor;
  border-radius: .4rem; padding: .15rem .7rem; cursor: pointer; }
button[aria-pressed=true] { background: var(--link); color: var(--ground); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.tools { display: flex; flex-wrap: wrap; gap: .4rem .6rem; margin: .6rem 0; }
#view { display: grid; gap: .6rem; min-height: min(60vh, 22rem);
  grid-template-columns: repeat(min(var(--scenes, 1), var(--row, 4)), minmax(0, 1fr)); }
@media (max-width: 799px) { #view { --row: 1; } }
#view figure { margin: 0; background: var(--raised); border: 1px solid var(--line);
  border-radius: .6rem; }
#view figcaption { margin: .4rem .6rem; font-weight: 600; overflow-wrap: anywhere; }
.scene { position: relative; height: min(60vh, 15rem); border-radius: .6rem; }
[hidden] { display: none !important; }
.logo svg { display: block; }
.key { display: inline-flex; flex-wrap: wrap; gap: .2rem .9rem; color: var(--quiet); }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .3em; }
"""

SORT = """
for (const head of document.querySelectorAll('.sortable th')) {
  head.onclick = () => {
    const down = head.ariaSort === 'ascending', column = head.cellIndex;
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = down ? 'descending' : 'ascending';
    const body = head.closest('table').tBodies[0], sign = down ? -1 : 1;
    const key = row => row.cells[column].textContent;
    const order = (a, b) => {
      if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
      const difference = Number(key(a)) - Number(key(b));
      return sign * (Number.isNaN(difference) ? key(a).localeCompare(key(b)) : difference);
    };
    body.append(...[...body.rows].sort(order));
  };
  head.onkeydown = event => { if (event.key === 'Enter') head.click(); };
}
"""
"""Script that sorts a table by the column whose head is clicked; a second click reverses."""


def page(title: str, content: str) -> str:
    """Return a complete HTML page with the given title and content (HTML)."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{content}\n</body></html>\n"
    )
