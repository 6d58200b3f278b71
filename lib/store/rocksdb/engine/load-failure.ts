import { BindingUnavailableError } from '../../../errors.js'

/** What the binaries of rocksdb-native are linked against. */
const GLIBC = '2.34'
const WHERE_IT_RUNS =
  'rocksdb-native needs glibc 2.34 and the libstdc++ of GCC 12 or later, as Debian 12 and Ubuntu 22.04 have them; Debian 11, RHEL 9, Amazon Linux 2023 and Alpine do not'
const NO_NEW_INSTALL =
  'Installing it anew cannot help: use such a system or container image, or the store on Redis'

/** The machine, as far as loading depends on it. */
export interface Machine {
  readonly platform: string
  readonly arch: string
  /** The version of glibc; `undefined` where Node.js runs on musl. */
  readonly glibc: string | undefined
  /** Whether a bundler has put this module into another file. */
  readonly isBundled: boolean
}

export function thisMachine(): Machine {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } }
  return {
    platform: process.platform,
    arch: process.arch,
    glibc: report?.header?.glibcVersionRuntime,
    // In a bundle of CommonJS there is no URL at all.
    isBundled: !/\/load-failure\.[jt]s$/.test(import.meta.url ?? '')
  }
}

/** Says what is missing, and whether anything can be done about it here. */
export function explainLoadFailure(error: unknown, machine = thisMachine()): Error {
  const texts: string[] = []
  for (let at = error; at instanceof Error; at = at.cause) texts.push(at.message)
  const reason = texts.join(': ') || String(error)
  return new BindingUnavailableError('rocksdb-native', reason, remedyFor(reason, machine), {
    cause: error
  })
}

function remedyFor(reason: string, machine: Machine): string {
  if (reason.includes('libatomic')) {
    return 'Install libatomic: "apt-get install libatomic1" on Debian and Ubuntu, "dnf install libatomic" on Fedora and RHEL.'
  }
  if (machine.platform === 'linux') {
    const lacking = lackingOnLinux(reason, machine)
    if (lacking !== undefined) return `${lacking}. ${WHERE_IT_RUNS}. ${NO_NEW_INSTALL}.`
  }
  if (machine.isBundled) {
    return 'It looks for its binary beside its own files, and a bundler has put them into another: leave it out of the bundle ("esbuild --external:rocksdb-native", or the "external" of your bundler) and ship node_modules/rocksdb-native and its dependencies beside it.'
  }
  return `It has binaries for Linux, macOS and Windows on x64 and arm64; this is ${machine.platform} ${machine.arch}. If it is one of these, node_modules was made on another: run "npm ci" here.`
}

function lackingOnLinux(reason: string, { glibc }: Machine): string | undefined {
  if (glibc === undefined || /ld-musl|libc\.musl/.test(reason)) {
    return 'This system has musl in place of glibc'
  }
  if (isOlder(glibc, GLIBC) || /GLIBC_[\d.]+['`]? not found/.test(reason)) {
    return `This system has glibc ${glibc}`
  }
  const [, version] = /((?:GLIBCXX|CXXABI)_[\d.]+)['`]? not found/.exec(reason) ?? []
  if (version !== undefined) return `The libstdc++ of this system is too old: it has no ${version}`
  if (/libstdc\+\+\.so\.6: cannot open/.test(reason)) return 'This system has no libstdc++'
  return undefined
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number)
  return major < thanMajor || (major === thanMajor && minor < thanMinor)
}
