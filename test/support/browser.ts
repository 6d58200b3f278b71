import { type Browser, chromium } from 'playwright-core'
import type { Test } from 'tap'
import { findBrowser } from '../../scripts/system.js'

/** A headless Chromium with an empty profile of its own, closed after the test. */
export async function launchBrowser(t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: findBrowser() ?? 'chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync'
    ]
  })
  t.teardown(() => browser.close())
  return browser
}
