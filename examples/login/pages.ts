import type { SessionInfo } from 'fastify-sled-session'
import { type Html, html } from './html.js'

export const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#d8dbe0, #3a3f47); --quiet: light-dark(#5c6470, #9aa3b0); --accent: light-dark(#1f5fbf, #82b1ff) }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; background: light-dark(#f4f5f7, #16181c); color: light-dark(#1b1e23, #e8eaed) }
main { max-width: 36rem; margin: 8vh auto; padding: 2rem; background: light-dark(#fff, #1f2227); border: 1px solid var(--line); border-radius: 12px }
h1 { margin: 0 0 1rem; font-size: 1.4rem }
a { color: var(--accent) }
label { display: block; margin: 0 0 1rem }
label.check { display: flex; gap: .5rem; align-items: center }
input:not([type]), input[type=password] { display: block; width: 100%; margin-top: .25rem; padding: .5rem .6rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px }
button { white-space: nowrap; padding: .45rem .9rem; font: inherit; cursor: pointer; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px }
button.main { color: light-dark(#fff, #10131a); background: var(--accent); border-color: transparent }
.bar { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1.5rem; align-items: center }
.quiet { color: var(--quiet); font-size: .9rem; margin: 0 }
.problem { color: light-dark(#a4201c, #ff9d96) }
ul { list-style: none; margin: 0; padding: 0 }
li { display: flex; justify-content: space-between; align-items: center; gap: 1rem; padding: .8rem 0; border-top: 1px solid var(--line) }
li p { margin: 0 }
.badge { font-size: .8rem; padding: .1rem .5rem; border-radius: 99px; border: 1px solid var(--line) }
`

export function loginPage(token: string, problem = ''): Html {
  return page(
    'Log in',
    html`<form method="post" action="/login">
      ${csrfField(token)}
      <p class="problem" role="alert">${problem}</p>
      <label>Name <input name="name" autocomplete="username" required autofocus></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
      <label class="check"><input name="remember" type="checkbox"> Remember me for 30 days</label>
      <button class="main">Log in</button>
    </form>`
  )
}

export function homePage(user: string, visits: number, token: string): Html {
  return page(
    `Hello, ${user}`,
    html`<p>You have opened this page ${visits} times since you logged in.</p>
    <div class="bar">
      <a href="/devices">Your devices</a>
      ${button('/logout', 'Log out', token)}
    </div>`
  )
}

export function devicesPage(
  sessions: readonly SessionInfo[],
  current: string | null,
  token: string
): Html {
  return page(
    'Your devices',
    html`<ul>${sessions.map((session) => deviceItem(session, session.handle === current, token))}</ul>
    <div class="bar">
      <a href="/">Back</a>
      ${button('/logout-everywhere', 'Log out everywhere', token)}
    </div>`
  )
}

export function problemPage(title: string, advice: string): Html {
  return page(title, html`<p>${advice}</p><a href="/">Continue</a>`)
}

function deviceItem(session: SessionInfo, isCurrent: boolean, token: string): Html {
  const { device } = session.metadata as { device: string }
  return html`<li>
    <div>
      <p>${device} ${isCurrent ? html`<span class="badge">this device</span>` : ''}</p>
      <p class="quiet">Since ${time(session.createdAt)}, last seen ${time(session.lastSeenAt)}</p>
    </div>
    ${isCurrent ? '' : button('/devices/revoke', 'Log out', token, session.handle)}
  </li>`
}

function button(action: string, label: string, token: string, handle = ''): Html {
  return html`<form method="post" action="${action}">
    ${csrfField(token)}
    ${handle === '' ? '' : html`<input type="hidden" name="handle" value="${handle}">`}
    <button>${label}</button>
  </form>`
}

function csrfField(token: string): Html {
  return html`<input type="hidden" name="_csrf" value="${token}">`
}

function time(date: Date): Html {
  const iso = date.toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace('T', ' ')}</time>`
}

function page(title: string, body: Html): Html {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<link rel="stylesheet" href="/style.css">
<main>
  <h1>${title}</h1>
  ${body}
</main>
</html>`
}
