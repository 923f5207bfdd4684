"""How a page looks: one style sheet for phones, wide screens and paper, light and dark."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--panel:#fff;--text:#1c2128;--faint:#5c6670;--line:#dfe3e8;
--accent:#1f6feb;--warn:#9a6700;--warn-ground:#fff8e1;--strong:#fff;
--c0:#1f6feb;--c1:#c4500c;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#6e7781}
@media (prefers-color-scheme:dark){:root{--ground:#0f1318;--panel:#171c23;--text:#e6eaef;--faint:#9aa5b1;
--line:#2c343e;--accent:#6cb0ff;--warn:#e3b341;--warn-ground:#2a2310;--strong:#0b0e12;
--c0:#6cb0ff;--c1:#ff9a57;--c2:#56d364;--c3:#c297ff;--c4:#f778ba;--c5:#9aa5b1}
.sheet img{filter:brightness(.92)}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:1080px;margin:0 auto;padding:0 16px}
header{padding-top:28px}
h1{font-size:clamp(1.5rem,5vw,2.1rem);line-height:1.2;margin:.1em 0 .25em;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:0 0 14px}
h3{font-size:1rem;margin:0 0 8px}
.kicker{color:var(--accent);font-weight:600;font-size:.85rem;margin:0}
.lead{color:var(--faint);margin:0 0 14px}
nav{display:flex;flex-wrap:wrap;gap:6px 14px;margin:14px 0 4px;font-size:.9rem}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:20px;margin:16px 0}
p{margin:0 0 10px}section>:last-child,.card>:last-child{margin-bottom:0}
.note,figcaption{color:var(--faint);font-size:.875rem}
.warning{background:var(--warn-ground);border-left:4px solid var(--warn);border-radius:4px;padding:8px 12px}
pre{background:var(--ground);border:1px solid var(--line);border-radius:8px;padding:10px 12px;margin:0 0 12px;
white-space:pre-wrap;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre span{display:inline-block;max-width:100%}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(138px,1fr));gap:10px;margin:14px 0 0}
.tiles div{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:12px 14px}
.tiles dt{color:var(--faint);font-size:.82rem}
.tiles dd{margin:2px 0 0;font-size:1.35rem;font-weight:650;line-height:1.25}
.facts{display:grid;grid-template-columns:minmax(90px,auto) 1fr;gap:4px 16px;margin:0 0 12px;font-size:.93rem}
.facts dt{color:var(--faint)}.facts dd{margin:0}
.scroll{overflow-x:auto;margin:0 0 12px;overflow-wrap:normal}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;padding:7px 14px 7px 0;border-bottom:1px solid var(--line);white-space:nowrap;font-weight:400}
thead th{color:var(--faint);font-size:.82rem}tbody th{font-weight:600}
th:last-child,td:last-child{padding-right:2px}
.number{text-align:right;font-variant-numeric:tabular-nums}
tbody tr:last-child>*{border-bottom:0}
figure{margin:0 0 12px}
figure svg{display:block;width:100%;height:auto}
.chart figcaption{color:var(--text);font-weight:600;font-size:.93rem;margin:0 0 6px}
.chart .note{margin:4px 0 0}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:20px 28px}
.beside .chart{margin:0;max-width:480px}
.sheet img{display:block;max-width:100%;height:auto;border-radius:8px;border:1px solid var(--line);background:#fff}
.sheet figcaption{margin-top:6px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;list-style:none;margin:6px 0 0;padding:0;font-size:.85rem}
.dot{display:inline-block;width:.62em;height:.62em;border-radius:50%;margin-right:.5em;background:var(--c5)}
.c0{background:var(--c0)}.c1{background:var(--c1)}.c2{background:var(--c2)}.c3{background:var(--c3)}
.c4{background:var(--c4)}.c5{background:var(--c5)}
.card{border-top:1px solid var(--line);padding-top:16px;margin-top:18px}
h2+.card{border-top:0;padding-top:0;margin-top:0}
.label{font-size:.75rem;font-weight:600;color:var(--faint);border:1px solid var(--line);border-radius:99px;
padding:1px 9px;margin-left:6px;vertical-align:1px}
footer{color:var(--faint);font-size:.85rem;padding-bottom:32px}
@media (max-width:600px){section{padding:16px 14px;border-radius:10px}main,header,footer{padding-left:10px;
padding-right:10px}header{padding-top:18px}.beside .chart{max-width:none}}
@media print{:root{color-scheme:light;--ground:#fff;--panel:#fff;--text:#000;--faint:#444;--line:#ccc;--accent:#000;
--warn:#7a5200;--warn-ground:#fff;--strong:#fff;
--c0:#1f6feb;--c1:#c4500c;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#6e7781}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font-size:10.5pt}nav{display:none}main,header,footer{max-width:none;padding:0}
section{border:0;padding:0;margin:14pt 0}.scroll{overflow:visible}table{font-size:8.5pt}
th,td{white-space:normal;padding:4pt 8pt 4pt 0}td.number{white-space:nowrap}
figure,tr,pre,.tiles div,.warning{break-inside:avoid}h2,h3{break-after:avoid}.sheet img{filter:none;max-height:22cm}}
"""
