// One sign-in with oauth4webapi, which checks every answer by the letter: pushed request, private_key_jwt, code, userinfo,
// refresh, introspection, revocation, client credentials. Speaks with its test as sign_in.mjs does.
import * as oauth from 'oauth4webapi'
import { importKey, print, read } from './lines.mjs'

const settings = JSON.parse(await read())
const issuer = new URL(settings.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer))
const client = { client_id: settings.client_id, id_token_signed_response_alg: settings.id_token_alg }
const proof = oauth.PrivateKeyJwt(await importKey(settings.private_jwk))

const verifier = oauth.generateRandomCodeVerifier()
const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
const pushed = await oauth.processPushedAuthorizationResponse(
  as,
  client,
  await oauth.pushedAuthorizationRequest(
    as,
    client,
    proof,
    new URLSearchParams({
      client_id: client.client_id,
      redirect_uri: settings.redirect_uri,
      response_type: 'code',
      scope: settings.scope,
      state,
      nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    }),
  ),
)
const address = new URL(as.authorization_endpoint)
address.searchParams.set('client_id', client.client_id)
address.searchParams.set('request_uri', pushed.request_uri)
print({ open: address.href })

const parameters = oauth.validateAuthResponse(as, client, new URL(await read()), state)
const answer = await oauth.authorizationCodeGrantRequest(as, client, proof, parameters, settings.redirect_uri, verifier)
const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer, {
  expectedNonce: nonce,
  requireIdToken: true,
})
await oauth.validateApplicationLevelSignature(as, answer)
const claims = oauth.getValidatedIdTokenClaims(tokens)
const userinfo = await oauth.processUserInfoResponse(
  as,
  client,
  claims.sub,
  await oauth.userInfoRequest(as, client, tokens.access_token),
)
const refreshed = await oauth.processRefreshTokenResponse(
  as,
  client,
  await oauth.refreshTokenGrantRequest(as, client, proof, tokens.refresh_token),
)
const introspect = async (token) =>
  oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, proof, token))
const before = await introspect(refreshed.access_token)
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, refreshed.refresh_token))
const after = await introspect(refreshed.access_token)
const own = await oauth.processClientCredentialsResponse(
  as,
  client,
  await oauth.clientCredentialsGrantRequest(as, client, proof, { scope: settings.own_scope }),
)
print({ claims, userinfo, before, after, own: await introspect(own.access_token) })
process.exit(0)
