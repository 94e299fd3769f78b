"""placeholder"""
import cv2, numpy as np, scipy.sparse as sps
from wsis.mcg.contours import rgb_to_lab
from wsis.masks.superpixels import segment_sums
P=dict(bins=16,steps=(0,2,6),tau=0.1,mode='geo',tex=True)
def soft_hist(values, labels, count, low, high, bins):
    pos=np.clip((values.ravel()-low)/(high-low)*(bins-1),0,bins-1-1e-4)
    i=pos.astype(np.int64); f=pos-i
    k=labels.ravel().astype(np.int64)*bins
    n=count*bins
    return (np.bincount(k+i,1-f,n)+np.bincount(k+i+1,f,n)).reshape(count,bins)
def strengthen(image, graph, strengths, weight):
    S=graph.num_superpixels
    if S==1: return strengths
    lab=cv2.GaussianBlur(rgb_to_lab(image),(0,0),0.7)
    L=lab[...,0]
    sp=graph.superpixels
    b=P['bins']
    hs=[soft_hist(L,sp,S,0,100,b),soft_hist(lab[...,1],sp,S,-40,40,b),soft_hist(lab[...,2],sp,S,-40,40,b)]
    if P['tex']:
        t=np.abs(L-cv2.GaussianBlur(L,(0,0),2)); t=np.sqrt(cv2.GaussianBlur(t,(0,0),1.5))
        hs.append(soft_hist(t,sp,S,0,4,b))
    area=np.bincount(sp.ravel(),minlength=S).astype(float)
    H=np.concatenate(hs,1)
    e=graph.edges; g=strengths.mean(0)
    w=graph.lengths*np.exp(-g/P['tau'])
    A=sps.coo_matrix((np.r_[w,w],(np.r_[e[:,0],e[:,1]],np.r_[e[:,1],e[:,0]])),shape=(S,S)).tocsr()
    # lazy random walk on counts: row-normalised
    d=np.asarray(A.sum(1)).ravel()
    W=sps.diags(0.5/np.maximum(d,1e-9))@A+0.5*sps.eye(S)
    out=[];cur=H.copy();ar=area.copy()
    for t in range(max(P['steps'])+1):
        if t in P['steps']:
            N=cur/ar[:,None]/len(hs)
            p,q=N[e[:,0]],N[e[:,1]]
            out.append(0.5*((p-q)**2/(p+q+1e-9)).sum(1))
        cur=W@cur; ar=W@ar
    c=np.mean(out,0)
    if P['mode']=='geo': return (strengths**(1-weight)*c**weight).astype(np.float32)
    return ((1-weight)*strengths+weight*c).astype(np.float32)
